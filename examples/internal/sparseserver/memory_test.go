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
	"strings"
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
	options := []imagetest.Option{imagetest.Entries(entries...)}
	for i := range 10_000 {
		options = append(options, imagetest.Annotation(fmt.Sprintf("org.example.note.%d", i), strings.Repeat("words ", 63)))
	}
	f.List("top", options...)
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
