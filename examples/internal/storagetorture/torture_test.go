package storagetorture

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// full reports whether everything is to be done, and not a sample.
func full() bool { return os.Getenv("SPARSECOPY_TORTURE") == "full" }

// seed is that of the run.
func seed(t *testing.T) uint64 {
	text := os.Getenv("SPARSECOPY_TORTURE_SEED")
	if text == "" {
		return 20261130
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err)
	return n
}

// TestTortureHistories makes up histories of a storage: pushes, mounts, deletions and collections,
// some of them killed. A naive model says what is there; a check finds what the model expects; and
// at the end, a client gets all of it.
func TestTortureHistories(t *testing.T) {
	histories, length := 10, 25
	if full() {
		histories, length = 200, 60
	}
	first := seed(t)
	for i := range uint64(histories) {
		seed := first + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed, seed%5 == 0)
			defer func() {
				if t.Failed() {
					t.Logf("%s\nSPARSECOPY_TORTURE_SEED=%d go test ./internal/storagetorture -run 'TestTortureHistories/seed_%d$'",
						strings.Join(h.log, "\n"), first, seed)
				}
			}()
			h.play(length)
			h.compare()
			h.checkNow()
			h.getAll()
		})
	}
}

// getAll gets everything that is there, by tag and by digest, and hashes it.
func (h *history) getAll() {
	for name, r := range h.model.repositories {
		for tag, d := range r.tags {
			assert.Equal(h.t, d, digest.FromBytes(h.client.Get(h.t, "GET", name, tag).Body), "%s:%s", name, tag)
		}
		for d := range r.manifests {
			assert.Equal(h.t, string(h.model.documents[d].body), string(h.client.Get(h.t, "GET", name, d.String()).Body), "%s@%s", name, d)
		}
		for d := range r.layers {
			assert.Equal(h.t, d, digest.FromBytes(h.client.Do(h.t, "GET", blobPath(name, d), nil, nil).Body), "%s@%s", name, d)
		}
	}
}
