// Package prose puts values into sentences for people: in errors, warnings and plans.
package prose

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// shownAtMost is how many elements of a list Some shows: lists come from strangers.
const shownAtMost = 40

// Some joins the elements of s with commas, not too many of them. It returns "nothing" if there are
// none.
func Some(s []string) string {
	switch {
	case len(s) == 0:
		return "nothing"
	case len(s) > shownAtMost:
		return fmt.Sprintf("%s and %d more", strings.Join(s[:shownAtMost], ", "), len(s)-shownAtMost)
	}
	return strings.Join(s, ", ")
}

// And joins the elements of s with commas, and the last one with "and".
func And(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}

// Count returns a number with the word for so many: "1 entry", "2 entries".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Short returns d with the first twelve characters of its hash.
func Short(d digest.Digest) string {
	s := d.String()
	if i := len(d.Algorithm()) + 1; len(s) > i+12 {
		return s[:i+12]
	}
	return s
}

// Digests returns digests as texts.
func Digests(ds []digest.Digest) []string {
	s := make([]string, len(ds))
	for i, d := range ds {
		s[i] = d.String()
	}
	return s
}

// Bytes returns a number of bytes in two or three digits, with a decimal unit: "1.5 kB", "204 MB".
func Bytes(n int64) string {
	const k = 1000
	if n < k {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/k, 0
	for value >= 999.5 {
		value /= k
		unit++
	}
	if value < 99.95 {
		return fmt.Sprintf("%.1f %cB", value, "kMGTPE"[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, "kMGTPE"[unit])
}
