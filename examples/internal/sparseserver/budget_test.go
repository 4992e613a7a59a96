package sparseserver

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

func TestSmallManifestsDoNotWaitForLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		b := newBudget(100*mib, time.Minute, newBudgetGauges(newMetrics()))
		start := time.Now()
		releaseAll, err := b.admit(t.Context(), 1000*mib) // more than there can be: all for large ones
		require.NoError(t, err)
		queued := make(chan error)
		for range 3 {
			go func() {
				_, err := b.admit(t.Context(), 20*mib)
				queued <- err
			}()
		}
		synctest.Wait() // they wait
		for range 25 {
			_, err := b.admit(t.Context(), mib)
			require.NoError(t, err)
		}
		assert.Equal(t, start, time.Now())
		_, err = b.admit(t.Context(), mib)
		assert.EqualError(t, err, "no memory for it in 1m0s")
		assert.Equal(t, time.Minute, time.Since(start))
		for range 3 {
			assert.EqualError(t, <-queued, "no memory for it in 1m0s")
		}
		releaseAll()
		for range 3 { // 75 MiB
			_, err = b.admit(t.Context(), 25*mib)
			require.NoError(t, err)
		}
		assert.Equal(t, time.Minute, time.Since(start), "nobody waited")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = b.admit(gone, 2*mib)
		assert.ErrorIs(t, err, context.Canceled)
	})
}

func TestAManifestWithoutMemoryIsToBeTriedAgain(t *testing.T) {
	server, client := start(t, Config{MetricsAddress: "127.0.0.1:0", ManifestWait: time.Millisecond})
	exporter := sparsetest.NewClient("http://" + server.MetricsAddress())
	f := sparsetest.Fixture(false)
	f.List("large", imagetest.Annotation("words", strings.Repeat("words ", 100_000)))
	require.NoError(t, server.budget.large.free.Acquire(t.Context(), server.budget.large.bytes))
	answer := client.Put(t, f, "app", "v1", "large")
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
	assert.Equal(t, "5", answer.Header.Get("Retry-After"))
	require.Len(t, answer.Errors(), 1)
	assert.Equal(t, "UNAVAILABLE", answer.Errors()[0].Code)
	assert.Equal(t, "the registry is busy with other manifests; try again: no memory for it in 1ms", answer.Errors()[0].Message)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"), "small ones have their own")
	assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodGet, "app", "v1").Status)

	server.budget.large.free.Release(server.budget.large.bytes)
	assert.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "large").Status)
	s := scrapeMetrics(t, exporter, "/metrics")
	assert.Equal(t, 1.0, s.series[`sparse_registry_denied_total{code="503",reason="busy"}`])
	assert.Equal(t, 1.0, s.series[`sparse_registry_manifests_refused_total{reason="busy"}`])
	assert.Zero(t, s.series["sparse_registry_manifests_waiting"])
	assert.Zero(t, s.series["sparse_registry_manifest_memory_bytes"])
}
