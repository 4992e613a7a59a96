// Package attach finds what belongs to manifests and lists without being in a list, and makes it
// known elsewhere: referrers, which name their subject (OCI image specification v1.1), what tags
// name that are named after a digest, and the children of attached lists.
//
// A question is what is attached to one subject, by one of its tags or as referrers. The answer may
// be none, and it may be that nobody knows: a question that is not answered is unknown, never none.
//
//   - find.go: everything that is attached to some manifests and lists, to that, and so on, within
//     limits.
//   - describe.go: what a manifest or list says of itself: its subject, its type, its children.
//   - signatures.go: signatures of lists, whatever tool has attached them, and which signatures
//     travel as attachments.
//   - originals.go: what carries the original of a stripped list, found and made known.
//   - compare.go: what a destination has already, and knows as what it is.
//   - store.go: what has to be stored, and in which order.
//   - refused.go: errors about what a destination does not take.
//   - announce.go, merge.go: what is stored is made known there, and what tags name there is merged
//     with what they name here.
//
// Nothing here decides what is copied, or moves a blob: package copy does, with what is found here.
package attach
