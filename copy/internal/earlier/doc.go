// Package earlier compares a copy with what an earlier one like it has left at the destination: by
// a fingerprint of all that is wanted there (wanted.go), and, where the source is gone, by what the
// destination's own lists name (left.go).
package earlier
