// Package registrygc collects the garbage in a registry's storage: it removes what no repository
// needs, and nothing else.
//
// MakePlan marks and decides. A Plan is a value: a dry run is a plan that nobody carries out, and
// Sweep carries one out. Collect does both and reports; DryRun does the first half.
//
// What stays in a repository: the manifests that tags name (digest tags, such as sha256-….sig, are
// tags like others, but for referrers tags as the server makes them: these stay while something
// does that they list), what these name through lists and nested lists, as far as the repository
// has it, and what has one of all these as its subject, and so on. Manifests beyond that stay
// unless Options.Untagged is set, but for indexes of referrers that the server made and has
// replaced: nobody else knows of them. Then come the links to the blobs that these manifests name.
// Blobs are global: a content goes when no repository needs it, which is known when all have been
// marked. Everything that is young stays, with what it needs.
//
// What a manifest names is read generously (readReferences), since what one client reads in it, it
// may look for. If it cannot be read at all, nobody knows what it needs: everything in its
// repository stays, and the report says so first.
//
// Steps are in an order in which every moment is a good one to be killed: links go before contents,
// and what names before what is named.
//
// Online does the same while a server serves. It hears of what clients use from its beginning on
// (Note), so that it can mark without a lock, and removes under sparseregistry.StorageLock, in
// turns of which each begins with what was noted since the last one. Serve and Remote are the two
// ends of a server's control socket.
package registrygc
