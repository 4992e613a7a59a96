// Package sparseserver is a registry that accepts sparse lists under a policy: distribution with
// the filesystem driver, behind the handler of internal/sparseregistry. The command
// examples/sparse-registry runs one; tests start as many as they want.
//
// What a request passes, from the outside: the count of requests under way, the request log with
// the metrics, the timeout for bodies that stall, the header of the API's version, /livez, /healthz
// and /readyz, what ends connections while the server stops, what announces the policy, htpasswd or
// anonymous pull, read-only or no DELETE, the look at the space that is left, the referrers API,
// the mark of uploads that are in use, what has large manifests wait for memory to be read, the
// policy itself with what links referrers, what renews the times of contents that clients rely on,
// and distribution, which asks for tokens if it is so configured. Names and passwords are checked
// once a request, before anything is read from its body, and so are tokens, a second time when a
// manifest is stored; the requests that the policy makes for children are not checked again, are
// not counted as requests of clients, and nobody is notified of them.
//
// Everything that was answered with success is in the storage directory, whatever happens to the
// process afterwards: distribution writes a temporary file, syncs it and renames it, for each file
// that it writes, and stores the tag last. A process that is killed can leave temporary files
// behind, and a tag that tags/list shows and that nothing can be pulled by; both are harmless, and
// pushing again mends the second. Uploads that are not complete can be continued after a restart.
//
// One server writes to a storage directory, by a lock in it that ends with the process: what keeps
// a child from being deleted while its list is being stored is in the process.
//
// Garbage is collected when somebody says so by the control socket (collection.go): in turns that
// take the storage from requests for a moment each.
//
// distribution logs to logrus's standard logger, whose level is the program's business.
package sparseserver
