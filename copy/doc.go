// Package copy copies container images and lists of images from one place to another, as go.podman.io/image/v5/copy does and
// with the same call. It adds what a mirror of some platforms needs: the list that is left behind is one that the destination accepts
// and that its users can trust.
//
// # Words
//
// A list is an OCI index or a Docker list; an instance is one entry of it, its child the manifest that the entry names. A list is
// sparse when it names children that are absent. It is kept (bytes and digest unchanged) or stripped (entries of what is not copied
// removed). An attestation is an entry that describes another one, its subject. An instance is missing when the source lists it
// and does not have it.
//
// # Five steps
//
//   - open: the source is opened, and what its reference names is resolved, once; everything later is read by digest.
//   - load (load.go): the tree of lists is read, and the manifests and signatures of what is wanted.
//   - plan (package copy/plan): decides, without I/O, what is copied and what the list becomes. NewPlan takes Options; aliases.go gives
//     plans, choices and their errors names in this package.
//   - execute (execute.go): children and blobs are copied concurrently, each distinct one once.
//   - write (write.go): nested lists from the leaves up, and what the reference names last. Until then the destination's reference
//     names what it named before, and it still does after any failure.
//
// Image takes all five; Prepare stops after the third, and Prepared.Execute takes the rest. job.go holds what the steps share. A
// Copier (copier.go) holds what copies share: Image and the other functions make one for a single call, and programs that go on
// keep one. inspect.go and verification.go read what is there and copy nothing.
//
// # Neighbours
//
// Package manifest holds lists as values. internal/endpoint defines the two ends of a copy as interfaces, internal/endpoint/registry
// speaks to registries directly, and internal/endpoint/transport uses any transport of containers/image. internal/inspect reads what
// is at one of them. Package copy/bundle is a transport whose references bring ends of their own (endpoint.Native).
// internal/progress writes the lines, bars and events that tell how far a copy has come. What the engine does not
// do itself, such as changing the compression of layers, is handed to upstream's package: upstream.go has the facts, and
// the plan decides.
//
// # Concurrency
//
// Image, Prepare and NewPlan may be called concurrently, also with the same Options, but for Report and Progress. A
// signature.PolicyContext serves one copy at a time, or those of one Copier.
package copy
