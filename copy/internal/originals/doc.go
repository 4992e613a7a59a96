// Package originals makes the original of a list that is stripped travel along: it reads the
// signatures of the original at the source, and stores the artifacts that package original makes,
// which carry the original's documents and these signatures, at the destination.
//
//   - find.go: the signatures, wherever the source has them, with all that they consist of.
//   - wanted.go: what a plan wants of that.
//   - store.go: the artifacts, as referrers of the stripped list.
//   - forms.go: what artifacts are stored as, and what a destination refuses for that.
//   - carry.go: artifacts that an earlier copy has attached, at the source of this one.
//   - astheywere.go: the signatures once more under the names that they had, for other tools.
package originals
