package copy

import (
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func TestWeights(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		size    int64
		want    int64
	}{
		"small":                     {Options{}, smallBlob, 1},
		"large":                     {Options{}, smallBlob + 1, slotWeight},
		"of unknown size":           {Options{}, -1, slotWeight},
		"in a number of the caller": {Options{MaxParallelDownloads: 3}, smallBlob + 1, 1},
		"in the caller's semaphore": {Options{ConcurrentBlobCopiesSemaphore: semaphore.NewWeighted(1)}, -1, 1},
	} {
		assert.Equal(t, c.want, c.options.weight(endpoint.Blob{Size: c.size}), name)
	}
	assert.True(t, (&Options{}).budget().TryAcquire(defaultParallel*slotWeight))
	assert.False(t, (&Options{MaxParallelDownloads: 3}).budget().TryAcquire(4))
	assert.True(t, (&Options{MaxParallelDownloads: math.MaxUint}).budget().TryAcquire(1000))
}

// TestSmallBlobsTogether holds back blobs until as many are asked for as may be at once.
func TestSmallBlobsTogether(t *testing.T) {
	const most, patience = defaultParallel * slotWeight, 20 * time.Second
	var asked atomic.Int32
	full := make(chan struct{})
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if !strings.Contains(req.URL.Path, "/blobs/") {
			return registrytest.Answer{}
		}
		if asked.Add(1) == most {
			close(full)
		}
		select {
		case <-full:
		case <-time.After(patience):
		}
		return registrytest.Answer{}
	}}), "app"}
	f := imagetest.Platforms(2, 40, 1000)
	src.push(f, "v1", imagetest.Top)
	begun := time.Now()
	_, err := newEnv(t).image(t.Context(), places["registry"](t).ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	require.NoError(t, err)
	assert.Less(t, time.Since(begun), patience, "there never were so many at once")
}
