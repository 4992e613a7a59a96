package prose

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1549: "1.5 kB", 99_949: "99.9 kB", 99_950: "100 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		146_000_000: "146 MB", 1_300_000_000: "1.3 GB", 4_000_000_000_000: "4.0 TB", 999_500_000_000_000: "1.0 PB", math.MaxInt64: "9.2 EB",
	} {
		assert.Equal(t, want, Bytes(n), n)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 entries", 1: "1 entry", 2: "2 entries"} {
		assert.Equal(t, want, Count(n, "entry", "entries"))
	}
}
