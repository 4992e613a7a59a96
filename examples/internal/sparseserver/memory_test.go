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
	"sync/atomic"
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

// most is the memory that a server may have resident, in bytes.
const most = 256 << 20

// staysBelowMost fails the test if the process ever had more memory than that.
func (p *process) staysBelowMost(t *testing.T) {
	t.Helper()
	peak := p.peakMemory(t)
	t.Logf("at most %d MiB", peak>>20)
	assert.Less(t, peak, int64(most))
}

// TestMemoryOfLargeLists: what large lists take does not grow with the number of those who push
// them.
func TestMemoryOfLargeLists(t *testing.T) {
	server := startProcess(t, t.TempDir())
	pushLarge(t, server)
	server.staysBelowMost(t)
}

// TestMemoryOfLargeReads: neither does what large manifests take that are read, for those who ask
// for them and for the list of those who refer to an image.
func TestMemoryOfLargeReads(t *testing.T) {
	storage := t.TempDir()
	large := storeLarge(t, storage)
	server := startProcess(t, storage)
	readLarge(t, server, large, func() bool { return false })
	server.staysBelowMost(t)
}

// TestMemoryOfLargePushesAndReads: and those who push and those who read need not take turns.
func TestMemoryOfLargePushesAndReads(t *testing.T) {
	storage := t.TempDir()
	large := storeLarge(t, storage)
	server := startProcess(t, storage)
	var pushed atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		pushLarge(t, server)
		pushed.Store(true)
	})
	readLarge(t, server, large, func() bool { return !pushed.Load() })
	wg.Wait()
	server.staysBelowMost(t)
}

// pushLarge has 64 clients push large lists at a time, every second of which is refused.
func pushLarge(t *testing.T, server *process) {
	const clients = 64
	if !assert.NoError(t, server.client.PushImage(t.Context(), sparsetest.Fixture(false), "app", "amd64")) {
		return
	}
	accepted, mediaType := largeList("amd64", "arm64").Document("top")
	refused, _ := largeList("amd64", "plain").Document("top")
	assert.InDelta(t, manifest.MaxSize, len(accepted), 200_000)
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
}

// storeLarge has a process of its own store a large list, and a large artifact that refers to an
// image.
func storeLarge(t *testing.T, storage string) *imagetest.Fixture {
	server := startProcess(t, storage)
	f := largeList()
	f.Image("image", imagetest.Platform("linux/amd64"))
	f.Artifact("attached", append(annotated(4_000_000), imagetest.Subject("image"))...)
	require.NoError(t, server.client.PushImage(t.Context(), f, "read", "attached"))
	require.Equal(t, http.StatusCreated, server.client.Put(t, f, "read", "top", "top").Status)
	server.kill(t)
	return f
}

// readLarge has 44 clients read at a time what storeLarge has stored, once, and again while they
// are to go on.
func readLarge(t *testing.T, server *process, large *imagetest.Fixture, goOn func() bool) {
	list := server.client.Base() + sparsetest.ManifestPath("read", "top")
	referrers := server.client.Base() + "/v2/read/referrers/" + large.Digest("image").String()
	var wg sync.WaitGroup
	read := func(clients int, method, url string, bytes int64) {
		for range clients {
			wg.Go(func() {
				for readOnce(t, method, url, bytes); goOn(); {
					readOnce(t, method, url, bytes)
				}
			})
		}
	}
	read(16, http.MethodGet, list, large.Size("top"))
	read(16, http.MethodHead, list, 0)
	read(12, http.MethodGet, referrers, large.Size("attached")/2)
	wg.Wait()
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
