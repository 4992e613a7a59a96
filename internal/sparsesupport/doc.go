// Package sparsesupport reads out of a registry's answer to a list what it says about sparse lists: Classify holds every error of the answer
// against a List, which says of each child whether it was left out. It does no I/O.
package sparsesupport
