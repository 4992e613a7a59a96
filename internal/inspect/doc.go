// Package inspect reads what is at one end of a copy, and writes nothing.
//
// Inspect (inspection.go) says what a reference names: the tree of its lists, and which manifests
// of it are there. Verify (verify.go) holds a place against what it should have: manifests and
// blobs, the sizes that are stated of them (sizes.go), what is attached to them (attached.go), and
// signatures; and says what of that no copy brings back (lost.go). content.go reads the tree.
// FindOriginal (original.go) says in what the original of a stripped list travels along with it.
//
// Places are endpoint.Sources, lists are arranged by internal/listtree. What should be at a place
// comes from whoever asks, as a Want: this package knows no plans.
package inspect
