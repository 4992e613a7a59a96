// Package vouching is a mirror's own word for a list that it has stripped: whether it may be given,
// what it says, how that is signed, and how it is found again.
//
// A Mirror judges what travels along with the list as whoever verifies it will, and has the keys
// sign only what is proven and signed. Facts become two Statements about the stripped list: a
// signature, as cosign makes one, and a summary of what was verified, as SLSA lays it out. A key
// signs each into a bundle, which an Artifact carries: a referrer of the list. What was said before
// is recognized by the same statement with a signature of one of our keys, whatever the time in it.
//
//   - options.go: what a mirror says of itself, and by what it judges.
//   - mirror.go: the verdict, and what follows from it at a Site, which stores and signs.
//   - statement.go: what is said.
//   - bundle.go: how that is signed, and recognized.
//   - artifact.go: what carries it.
//   - search.go: what a Place has of it already.
package vouching
