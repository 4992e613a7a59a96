package copy

import (
	"math"

	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// defaultParallel is the number of blobs in flight when the caller names none; of small ones,
// manifests and questions slotWeight times as many.
const defaultParallel = 32

// budget returns a semaphore that everything in flight can be counted by.
func (o *Options) budget() *semaphore.Weighted {
	if o.MaxParallelDownloads > 0 {
		return semaphore.NewWeighted(int64(min(o.MaxParallelDownloads, math.MaxInt32)))
	}
	return semaphore.NewWeighted(defaultParallel * slotWeight)
}

const (
	// slotWeight is what a blob counts for in the default budget. What takes round trips and
	// nothing else counts for 1.
	slotWeight = 2
	// smallBlob is the size up to which a blob is such a thing.
	smallBlob = 256 << 10
)

// weight is what b counts for in the budget. In a budget that the caller has chosen everything
// counts the same.
func (o *Options) weight(b endpoint.Blob) int64 {
	if o.ConcurrentBlobCopiesSemaphore != nil || o.MaxParallelDownloads > 0 || (0 <= b.Size && b.Size <= smallBlob) {
		return 1
	}
	return slotWeight
}

// blobsPerImage is how many blobs an image is expected to have before its manifest is known.
const blobsPerImage = 4

// expectBlobs lets both ends open connections for the blobs of images whose manifests are being
// read. What is in flight over several copies says nothing about this one.
func expectBlobs(e *ends, images int) {
	if e.o.ConcurrentBlobCopiesSemaphore != nil {
		return
	}
	most := defaultParallel
	if e.o.MaxParallelDownloads > 0 {
		most = int(min(e.o.MaxParallelDownloads, defaultParallel))
	}
	for _, end := range []any{e.src, e.dst} {
		if waits, ok := end.(interface{ Expect(n int) }); ok {
			waits.Expect(min(images*blobsPerImage, most))
		}
	}
}
