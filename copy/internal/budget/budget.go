// Package budget has the semaphore that everything in flight is counted by, and what things count
// for there.
package budget

import (
	"math"

	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Parallel is the number of blobs in flight when the caller names none; of small ones, manifests
// and questions Slot times as many.
const Parallel = 32

const (
	// Slot is what a blob counts for in the default budget. What takes round trips and nothing else
	// counts for 1.
	Slot = 2
	// SmallBlob is the size up to which a blob is such a thing.
	SmallBlob = 256 << 10
)

// New returns a budget for most blobs in flight; 0 means the default.
func New(most uint) *semaphore.Weighted {
	if most > 0 {
		return semaphore.NewWeighted(int64(min(most, math.MaxInt32)))
	}
	return semaphore.NewWeighted(Parallel * Slot)
}

// Or returns b, or, if that is nil, a budget of its own for the default number of blobs.
func Or(b *semaphore.Weighted) *semaphore.Weighted {
	if b != nil {
		return b
	}
	return New(0)
}

// Weight is what b counts for in the default budget.
func Weight(b endpoint.Blob) int64 {
	if 0 <= b.Size && b.Size <= SmallBlob {
		return 1
	}
	return Slot
}

// blobsPerImage is how many blobs an image is expected to have before its manifest is known.
const blobsPerImage = 4

// Expect lets ends open connections for the blobs of images whose manifests are being read, of
// which most may be in flight; 0 means the default.
func Expect(images int, most uint, ends ...any) {
	limit := Parallel
	if most > 0 {
		limit = int(min(most, Parallel))
	}
	for _, end := range ends {
		if waits, ok := end.(interface{ Expect(n int) }); ok {
			waits.Expect(min(images*blobsPerImage, limit))
		}
	}
}
