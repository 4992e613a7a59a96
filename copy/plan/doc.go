// Package plan decides what a copy will do, before anything is written.
//
// New makes a Plan out of an Input: the documents of the source as a Tree, what is known of the two
// ends, and the Choices of whoever copies. It is pure: no context, no I/O, no logging, and the same
// input gives the same plan. A plan that nobody executes is a dry run.
//
// A plan comes about in this order, and each step has a file:
//
//   - tree.go: the lists and manifests of the source, parsed once.
//   - selection.go: a verdict for each entry of each list: wanted, missing, excluded, and why.
//   - multi.go: what follows for lists, from the leaves up: requirements, edits, results.
//     single.go: the same for one image.
//   - change.go: why an image has to change on its way. encryption.go: what cannot be encrypted.
//     transform.go: what becomes of images that have to, and of their lists.
//   - sparse.go: prepareInstanceCopies, which images of one list are copied, and which entries are
//     removed.
//   - attached.go: what becomes of referrers and digest tags.
//   - auto.go: keep, strip, or both, by what is known of the destination.
//   - way.go: who does the work.
//
// plan.go, listplan.go and reason.go have what comes out, input.go and choices.go what goes in,
// errors.go why there is no plan, print.go and json.go a plan for people and for programs.
//
// Package copy reads what an Input needs, and executes plans.
package plan
