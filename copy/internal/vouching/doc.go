// Package vouching is a mirror's own word for a list that it has stripped: what it says, how that
// is signed, and how it is found again.
//
// Facts become two Statements about the stripped list: a signature, as cosign makes one, and a
// summary of what was verified, as SLSA lays it out. A key signs each into a Bundle, which an
// Artifact carries: a referrer of the list. What was said before is recognized by the same
// statement with a signature of one of our keys, whatever the time in it.
//
// A key says nothing here about what was not judged: who makes Facts has a verdict. The package
// asks and stores nothing.
package vouching
