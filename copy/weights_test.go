package copy

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

func TestWeights(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		size    int64
		want    int64
	}{
		"small":                     {Options{}, budget.SmallBlob, 1},
		"large":                     {Options{}, budget.SmallBlob + 1, budget.Slot},
		"of unknown size":           {Options{}, -1, budget.Slot},
		"in a number of the caller": {Options{MaxParallelDownloads: 3}, budget.SmallBlob + 1, 1},
		"in the caller's semaphore": {Options{ConcurrentBlobCopiesSemaphore: semaphore.NewWeighted(1)}, -1, 1},
	} {
		assert.Equal(t, c.want, c.options.weight(endpoint.Blob{Size: c.size}), name)
	}
	assert.True(t, budget.New(0).TryAcquire(budget.Parallel*budget.Slot))
	assert.False(t, budget.New(3).TryAcquire(4))
	assert.True(t, budget.New(math.MaxUint).TryAcquire(1000))
}

// TestImagesBudget looks at what the copies of one call share, and at what blobs count for there.
func TestImagesBudget(t *testing.T) {
	own := semaphore.NewWeighted(1)
	ref, err := docker.ParseReference("//127.0.0.1:1/app:v1")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		options ImagesOptions
		total   int64
		large   int64
		own     *semaphore.Weighted
	}{
		"default":                   {ImagesOptions{}, budget.Parallel * budget.Slot, budget.Slot, nil},
		"in a number of the caller": {ImagesOptions{MaxParallelDownloads: 3, Options: &Options{MaxParallelDownloads: 5}}, 3, 1, nil},
		"not of one image":          {ImagesOptions{Options: &Options{MaxParallelDownloads: 5}}, budget.Parallel * budget.Slot, budget.Slot, nil},
		"in the caller's semaphore": {ImagesOptions{Options: &Options{ConcurrentBlobCopiesSemaphore: own}}, 1, 1, own},
	} {
		t.Run(name, func(t *testing.T) {
			copier, own := c.options.copier()
			call, err := newBatch(copier, nil, own).newCall(Job{Source: ref, Destination: ref}, nil)
			require.NoError(t, err)
			assert.Equal(t, int64(1), call.o.weight(endpoint.Blob{Size: budget.SmallBlob}))
			assert.Equal(t, c.large, call.o.weight(endpoint.Blob{Size: budget.SmallBlob + 1}))
			if c.own != nil {
				assert.Same(t, c.own, call.budget)
			} else {
				assert.Same(t, copier.budget, call.budget)
			}
			assert.True(t, call.budget.TryAcquire(c.total))
			assert.False(t, call.budget.TryAcquire(1))
			u := upstreamOptionsOf(call, &Plan{})
			assert.Same(t, call.budget, u.ConcurrentBlobCopiesSemaphore)
		})
	}
}
