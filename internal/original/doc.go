// Package original has the artifacts in which the original of a stripped list travels along: the
// list as its publisher signed it, and the signatures of that. They are attached to the stripped
// list, as referrers, and whoever has them can check it without the source.
//
// It is pure: Of, OfSignature and Plain make artifacts out of bytes, Read and ReadSignature take
// them apart again, and others store and fetch them.
//
//   - original.go: the artifact with the documents of the original, one for each original.
//   - signature.go: an artifact for each signature of the original, with all that it consists of.
//   - artifact.go: what both have in common, and how one is told from other referrers.
//   - plain.go: the same once more as a plain image, for registries that take nothing else.
//   - remake.go: whether this package has made an artifact.
//   - errors.go: what is wrong with artifacts, which come from strangers when they are read.
//
// Artifacts depend on what they carry and on nothing else: neither on the time nor on the machine,
// nor on what the destination has. Their digests are known before anything is written.
package original
