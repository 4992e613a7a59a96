package mirrorcmd

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestServePostpones has a source that allows two pulls of the three that an image takes: the
// server waits, also one that is started again meanwhile.
func TestServePostpones(t *testing.T) {
	s := newServeTest(t)
	limit := &registrytest.RateLimit{Limit: 2, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: s.clock}
	s.syncTest = newSyncTest(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})
	s.push("a", "1", 2)
	s.write("images:\n- {source: SRC/a:1, destination: DST/a, every: 1h}\n")
	cache := t.TempDir() // where the first two are kept
	const used = "the rate limit of the source is used up"
	s.begin("--cache-dir", cache)
	assert.Equal(t, "2026-03-02T14:00:00Z", s.wait(used, 1)["until"])
	assert.Equal(t, StatusDone, s.end())

	s.src.ResetLog()
	s.ended = make(chan int, 1)
	s.begin("--cache-dir", cache)
	s.pass(66 * time.Minute) // with the jitter
	s.wait(used, 2)
	assert.Empty(t, s.src.Requests(), "it is known to be of no use")

	s.pass(5 * time.Hour)
	s.wait("copied", 1)
	s.same("a", "a", "1")
}
