// Package sparsesupport knows what registries say about sparse lists.
//
//   - announcement.go: what one announces before anything is written (Ask).
//   - refusal.go: what its answer to a list says. Classify holds every error of the answer against
//     a List, which says of each child whether it was left out.
package sparsesupport
