//go:build linux && !race

package sparseserver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// peakMemory is the most memory that the process ever had resident, in bytes.
func (p *process) peakMemory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, peak)
	kib, err := strconv.ParseInt(string(peak[1]), 10, 64)
	require.NoError(t, err)
	return kib << 10
}

// largeList is a list of about as many bytes as one may have, most of them in annotations, that
// names the given entries.
func largeList(entries ...string) *imagetest.Fixture {
	f := sparsetest.Fixture(false)
	f.List("top", append(annotated(4_000_000), imagetest.Entries(entries...))...)
	return f
}

// TestMemoryOfLargeLists: what large lists take does not grow with the number of those who push
// them.
func TestMemoryOfLargeLists(t *testing.T) {
	const (
		clients = 64
		most    = 256 << 20
	)
	server := startProcess(t, t.TempDir())
	require.NoError(t, server.client.PushImage(t.Context(), sparsetest.Fixture(false), "app", "amd64"))
	accepted, mediaType := largeList("amd64", "arm64").Document("top")
	refused, _ := largeList("amd64", "plain").Document("top")
	require.InDelta(t, manifest.MaxSize, len(accepted), 200_000)
	want := slices.Repeat([]int{http.StatusCreated, http.StatusCreated, http.StatusBadRequest, http.StatusBadRequest}, clients/4)
	got := make([]int, clients)
	var wg sync.WaitGroup
	for i, status := range want {
		document, chunked := accepted, i%2 == 0
		if status == http.StatusBadRequest {
			document = refused
		}
		wg.Go(func() {
			got[i] = putOnce(t, server.client.Base(), fmt.Sprintf("v%d", i), mediaType, document, chunked)
		})
	}
	wg.Wait()
	assert.Equal(t, want, got)
	t.Logf("at most %d MiB", server.peakMemory(t)>>20)
	assert.Less(t, server.peakMemory(t), int64(most))
}

// TestMemoryOfLargeReads: neither does what large manifests take that are read, for those who ask
// for them and for the list of those who refer to an image.
func TestMemoryOfLargeReads(t *testing.T) {
	const most = 256 << 20
	storage := t.TempDir()
	pushing := startProcess(t, storage)
	f := largeList()
	f.Image("image", imagetest.Platform("linux/amd64"))
	f.Artifact("attached", append(annotated(4_000_000), imagetest.Subject("image"))...)
	require.NoError(t, pushing.client.PushImage(t.Context(), f, "app", "attached"))
	require.Equal(t, http.StatusCreated, pushing.client.Put(t, f, "app", "v1", "top").Status)
	pushing.kill(t)

	server := startProcess(t, storage)
	referrers := "/v2/app/referrers/" + f.Digest("image").String()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			readOnce(t, http.MethodGet, server.client.Base()+sparsetest.ManifestPath("app", "v1"), f.Size("top"))
		})
		wg.Go(func() { readOnce(t, http.MethodHead, server.client.Base()+sparsetest.ManifestPath("app", "v1"), 0) })
	}
	for range 12 {
		wg.Go(func() { readOnce(t, http.MethodGet, server.client.Base()+referrers, f.Size("attached")/2) })
	}
	wg.Wait()
	t.Logf("at most %d MiB", server.peakMemory(t)>>20)
	assert.Less(t, server.peakMemory(t), int64(most))
}

// readOnce reads an answer of at least so many bytes.
func readOnce(t *testing.T, method, url string, bytes int64) {
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if !assert.NoError(t, err) {
		return
	}
	r.Header.Set("Accept", "application/vnd.oci.image.index.v1+json")
	answer, err := http.DefaultClient.Do(r)
	if !assert.NoError(t, err) {
		return
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	assert.NoError(t, err)
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.GreaterOrEqual(t, n, bytes)
}

func putOnce(t *testing.T, base, tag, mediaType string, document []byte, chunked bool) int {
	var body io.Reader = bytes.NewReader(document)
	if chunked {
		body = io.MultiReader(body) // of which net/http does not know the length
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, base+sparsetest.ManifestPath("app", tag), body)
	if err != nil {
		t.Error(err)
		return 0
	}
	r.Header.Set("Content-Type", mediaType)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}
