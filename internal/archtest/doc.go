// Package archtest has no code, only tests about the shape of the repository: which way imports
// run, which packages stay pure, which modules a user of the library downloads, and a few manners.
// They parse the sources of the whole checkout, both modules, without building anything; a rule
// about a package that does not exist yet holds.
//
// To see what is allowed, or to allow more, read the tables at the top of imports_test.go.
package archtest
