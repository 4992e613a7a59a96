// Package foreign makes sync files of the files of other tools. docs/import.md has a table of what
// becomes of each of their keys.
//
// # Map
//
//	foreign.go   Format, Convert and what they return: the public face
//	reader.go    reader: what a format has at hand while it reads a file
//	tree.go      node: the file as a tree, read within limits, whose keys are taken one by one
//	writer.go    element: our file, put together key by key
//	template.go  --to
//	passwords.go what is said of a file has none
//	likely.go    Likely: whose file one seems to be
//	export.go    Export: the way back, from a sync file to the file of another tool; FORMAT_export.go
//	FORMAT.go    a format: its keys, and the function that reads its files
//
// # Nothing is dropped
//
// A format takes the keys that it knows out of the tree. What it has not taken when it is done is
// lost, and Convert says so, with the line and with the reason that Format.Keys has for that key.
// So a key that has no counterpart needs a row in Keys, and no code.
//
// # Files of strangers
//
// A file is data: nothing in it is evaluated, and no file that it names is opened. Its size, its
// depth, and the number of its values after aliases are followed have bounds.
package foreign
