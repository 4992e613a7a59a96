// Package manifest holds lists as values: OCI indexes and Docker lists, read strictly and edited
// without a needless change of a byte. It does no I/O, needs no context and logs nothing.
//
// # Words
//
// A list is the document. An instance is one entry of it; an index is only ever a position. A child
// is the manifest that an entry names; it can be a list again. An attestation is an entry that
// describes another one, its subject.
//
// # Map
//
//   - [Parse] is the one door in. It refuses what two parsers could read differently, and whatever
//     a stranger could send to make later steps fail: every digest that comes out of this package
//     is valid.
//   - [List] is what it returns, sealed: an [OCI1Index] or a [Schema2List].
//   - [Instance] is the view of an entry that is the same for both formats.
//   - [ListEdit] is a change of a list: update, delete, add, move. [List.EditInstances] checks a
//     batch of them and then applies it.
//   - [List.Serialize] writes the list. Whatever no edit touched has the bytes that it had:
//     indentation, order of keys, unknown fields and formats of numbers. The result depends on
//     nothing but the document and the edits.
//   - [Convert] writes a list in the other format, and says what that one has no place for.
//   - [StrippedFrom] proves that a list is another one with entries removed and nothing else
//     touched, and says which; or where it is not.
//   - [TypeOf] says what a document is, whatever it was declared to be.
//   - A [Remark] is about what Parse let through although it is not as it should be: other tools
//     carry such documents, and so can we. What is to be stored should have none.
//   - [ParseImage] reads the manifest of a single image as strictly as Parse reads lists.
//
// Below them, a scanner reads JSON and knows at which byte and on which path it is (scanner.go),
// and objects are cut into pieces and put together again (raw.go). Parsing, editing and serializing
// take time in proportion to the size of the document.
//
// The planner in package copy/plan decides which edits to make; the ends in internal/endpoint read
// and write the documents.
package manifest
