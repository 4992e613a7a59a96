// Package remembered keeps what became of images that were transformed, so that the next copy finds
// it at the destination and does not make it again: a compression takes minutes, and nothing at the
// destination says what it was made of.
//
//   - A Key names a result by what it is the result of: an image, what was done to it
//     (Transformation), and for which repository (Repository).
//   - A Result is a manifest at the destination.
//   - A File has the results of one directory (Directory), and Files are those of a program.
//   - A Memory is what a copy asks: it knows the repository, and what is done to images there. It
//     also finds results in what entries of a list say (manifest.AnnotationTransformedFrom).
//
// What is remembered is a hint. Whoever uses it asks the destination first whether it has the
// result, and the signature policy whether it allows the source: a hint that is wrong, or belongs
// to a repository that has been emptied, costs a question. It has to come from this user's own
// directory for the same reason as the blob-info cache of containers/image, which lies beside it:
// who can write there can have one image of a repository taken for another one of it.
//
// # The file
//
// It has a line of JSON for each result, after a line that says what file it is:
//
//	{"schema":"sparsecopy.transformed/v1","file":"41f0c2…"}
//	{"repository":"docker:registry.example/app","source":"sha256:…","transformation":{…},"digest":"sha256:…","size":1469,"mediaType":"…","sourceMediaType":"…","reason":"…"}
//
// Lines are added at the end, by one writer at a time, which holds a lock on a file beside it.
// Where the file would become larger than it may be, the newest lines go to another one, which
// takes its place by rename. Readers need no lock: a line counts when it is complete, and a file
// that has taken another one's place has another first line. What is no line of this form, such as
// the half of one that a crash left, is ignored, and gone with the next writer.
package remembered
