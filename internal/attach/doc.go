// Package attach has the rules for what belongs to a manifest or list without being in a list: referrers, which name it as their
// subject, and what tags name that are named after its digest.
//
//   - merge.go: what a digest tag is to name where it names something already.
package attach
