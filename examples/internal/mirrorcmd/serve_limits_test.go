package mirrorcmd

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
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

// TestServePostponesByAClockThatWasWrong: what was put off, and was looked at, in a time that is to
// come is not waited for.
func TestServePostponesByAClockThatWasWrong(t *testing.T) {
	s := newServeTest(t)
	limit := &registrytest.RateLimit{Limit: 2, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: s.clock}
	s.syncTest = newSyncTest(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})
	s.push("a", "1", 2)
	s.write("images:\n- {source: SRC/a:1, destination: DST/a, every: 1h}\n")
	const used = "the rate limit of the source is used up"
	s.begin()
	s.wait(used, 1)
	assert.Equal(t, StatusDone, s.end())

	s.src.ResetLog()
	s.ended = make(chan int, 1)
	s.clock = clocktest.New(clocktest.Start.Add(-10_000 * time.Hour))
	s.begin()
	assert.Equal(t, s.clock.Now().Add(6*time.Hour).UTC().Format(time.RFC3339), s.wait(used, 2)["until"])
	assert.NotEmpty(t, s.src.Requests(), "it was asked")
}
