// Package copy copies container images and lists of images from one place to another, as
// go.podman.io/image/v5/copy does and with the same call. It adds what a mirror of some platforms
// needs: the list that is left behind is one that the destination accepts and that its users can
// trust.
//
// # Words
//
// A list is an OCI index or a Docker list; an instance is one entry of it, its child the manifest
// that the entry names. A list is sparse when it names children that are absent. It is kept (bytes
// and digest unchanged) or stripped (entries of what is not copied removed). An attestation is an
// entry that describes another one, its subject; other entries accelerate or replace theirs
// (internal/relation has the table). An instance is missing when the source lists it and does not
// have it.
//
// # Six steps
//
// copy.go is the way through them. Each is a function from values to values, in a file of its own:
//
//   - open (open.go): the source is opened, and what its reference names is resolved, once;
//     everything later is read by digest. The destination is opened when it is needed first.
//   - load (load.go, signatures.go): the tree of lists is read, and the manifests and signatures of
//     what is wanted.
//   - compare (compare.go): the destination is asked what it has, and how it thinks of sparse
//     lists. What it does not answer is unknown. Questions go out together with what load reads,
//     where neither depends on the other.
//   - plan (package copy/plan): decides, without I/O, what is copied and what the list becomes.
//   - execute (execute.go, store.go): children and blobs are copied concurrently, each distinct one
//     once.
//   - write (write.go): nested lists from the leaves up, and what the reference names last. Until
//     then the destination's reference names what it named before, and it still does after any
//     failure.
//
// A copy like an earlier one may be settled after the first step, or after the second, by what that
// has left (earlier.go).
//
// What goes from step to step is a survey (survey.go): what is known of both ends, and the plan
// that follows (planinput.go). It is a value: a step that finds out more returns another one. What
// a copy is asked for, and what serves all steps, is a call (call.go). What is attached to what is
// copied goes the same way (attached.go), and so does the original of a list that is stripped
// (original.go).
//
// Images that have to change are transformed one by one beside the others, which upstream's package
// does (transform.go); with what becomes of them the plan is made once more, before anything that
// names them is written. It is remembered, so that the next copy finds it (recall.go). Copies
// between ends that are not ours to read or write are handed over as a whole (handover.go). Blobs
// that lists name in the place of manifests have a file of their own (blobs.go).
//
// # The face
//
// Image takes all steps; Prepare stops after the plan, and Prepared.Execute takes the rest. Images
// (images.go) makes many copies. A Copier (copier.go) holds what copies share: Image and the other
// functions make one for a single call, and programs that go on keep one. Inspect (inspect.go) and
// Verify (verification.go) read what is at an end, and Tags (tags.go) lists what there is.
// options.go has the choices of a copy and errors.go the errors; aliases.go gives plans, reports
// and their parts names here.
//
// # Neighbours
//
// Package copy/plan plans, and copy/report has what a copy did; both do nothing else. Package
// manifest holds lists as values. internal/endpoint defines the two ends of a copy as interfaces,
// internal/endpoint/registry speaks to registries directly, and internal/endpoint/transport uses
// any transport of containers/image; copy/bundle is one of our own. internal/attach finds what is
// attached, internal/sparsesupport knows what registries say of sparse lists, internal/policy asks
// the signature policy, internal/progress tells people how far copies have come, and
// copy/internal/reporting what they did.
//
// # Concurrency
//
// Image, Prepare and NewPlan may be called concurrently, also with the same Options, but for Report
// and Progress. A signature.PolicyContext serves one copy at a time, or those of one Copier.
package copy
