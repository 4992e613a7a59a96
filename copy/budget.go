package copy

import (
	"context"
	"math"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// concurrently runs f for each element within the budget, and returns the first error. It always waits for everything that it
// started, and it never leaves with nil if ctx ended.
func concurrently[T any](ctx context.Context, budget *semaphore.Weighted, elements []T, f func(context.Context, T) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, e := range elements {
		if err := budget.Acquire(groupCtx, 1); err != nil {
			break
		}
		group.Go(func() error {
			defer budget.Release(1)
			return f(groupCtx, e)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// one runs f within the budget.
func one(ctx context.Context, budget *semaphore.Weighted, f func() error) error {
	if err := budget.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer budget.Release(1)
	return f()
}

// defaultParallel is the number of blobs in flight when the caller names none; of small ones, manifests and questions slotWeight times as
// many.
const defaultParallel = 32

// budget returns a semaphore that everything in flight can be counted by.
func (o *Options) budget() *semaphore.Weighted {
	if o.MaxParallelDownloads > 0 {
		return semaphore.NewWeighted(int64(min(o.MaxParallelDownloads, math.MaxInt32)))
	}
	return semaphore.NewWeighted(defaultParallel * slotWeight)
}

const (
	// slotWeight is what a blob counts for in the default budget. What takes round trips and nothing else counts for 1.
	slotWeight = 2
	// smallBlob is the size up to which a blob is such a thing.
	smallBlob = 256 << 10
)

// weight is what b counts for in the budget. In a budget that the caller has chosen everything counts the same.
func (o *Options) weight(b endpoint.Blob) int64 {
	if o.ConcurrentBlobCopiesSemaphore != nil || o.MaxParallelDownloads > 0 || (0 <= b.Size && b.Size <= smallBlob) {
		return 1
	}
	return slotWeight
}

// blobsPerImage is how many blobs an image is expected to have before its manifest is known.
const blobsPerImage = 4

// expectBlobs lets both ends open connections for the blobs of images whose manifests are being read. What is in flight over several
// copies says nothing about this one.
func (e *ends) expectBlobs(images int) {
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
