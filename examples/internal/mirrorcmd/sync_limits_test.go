package mirrorcmd

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestPostponed has a source that allows four pulls in six hours, and two images of three manifests
// each.
func TestPostponed(t *testing.T) {
	clock := clocktest.New(time.Time{})
	limit := &registrytest.RateLimit{Limit: 4, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: clock}
	s := &stateTest{syncTest: newSyncTest(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})}
	s.memory = s.file + ".memory"
	f := imagetest.Platforms(2, 1, 100)
	for _, repository := range []string{"one", "two"} {
		f.PushTo(s.src, repository, "1", imagetest.Top)
	}
	s.write("images:\n- {source: SRC/one:1, destination: DST/one}\n- {source: SRC/two:1, destination: DST/two}\n")
	run := func(status int, args ...string) (string, syncReport) {
		t.Helper()
		hermetictest.Home(t)
		var stdout, stderr bytes.Buffer
		e := &environment{ctx: t.Context(), stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: os.Getenv, clock: clock}
		s.src.ResetLog()
		got := e.run(append([]string{
			"sync", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--state-dir", s.state, "--state", s.memory, "--jobs", "1", "--no-cache",
		}, append(args, s.file)...))
		require.Equal(t, status, got, "%s%s", &stdout, &stderr)
		var report syncReport
		_ = json.Unmarshal(stdout.Bytes(), &report) // if it is JSON
		return stdout.String() + stderr.String(), report
	}

	_, report := run(StatusPostponed, "--output", "json")
	assert.Equal(t, syncSummary{Images: 2, Copied: 1, Postponed: 1, Bytes: report.Summary.Bytes}, report.Summary)
	until := clocktest.Start.Add(6 * time.Hour)
	assert.Equal(t, []syncRateLimit{{Registry: s.src.Host(), Limit: 4, Window: 6 * time.Hour, Until: until}}, report.RateLimits)
	assert.Equal(t, imagePostponed, report.Images[1].Status)
	assert.Equal(t, until, report.Images[1].PostponedUntil)
	known := s.remembered("/two:1")
	assert.Equal(t, state.Postponed, known.Status)
	assert.Equal(t, until, known.PostponedUntil)
	assert.Contains(t, known.Error, "nothing can be pulled from "+s.src.Host()+" until 2026-03-02 14:00:00 UTC at the latest")

	clock.Advance(6*time.Hour - 1)
	text, _ := run(StatusPostponed)
	assert.Empty(t, s.src.Count(func(q registrytest.Request) bool { return q.Repo == "two" }), "it is not tried before")
	assert.Contains(t, text, "2 images: 1 there already, 1 postponed")
	assert.Contains(t, text, "postponed: docker://"+s.dst.Host()+"/two:1 (line 3): ")
	assert.Contains(t, text, "rate limit: 0 of 4 pulls in 6h0m0s are left at "+s.src.Host())
	assert.Contains(t, text, "mirror: 1 of 2 images postponed; the first, ")

	clock.Advance(1)
	_, report = run(0, "--output", "json")
	assert.Equal(t, 1, report.Summary.Copied)
	assert.Equal(t, 3, s.src.Count(registrytest.Is(http.MethodGet, registrytest.KindManifest)))
	known = s.remembered("/two:1")
	assert.Equal(t, state.Mirrored, known.Status)
	assert.Zero(t, known.PostponedUntil)
}

// TestNothingIsRemovedForWhatIsPostponed: what the file names is not known to be there.
func TestNothingIsRemovedForWhatIsPostponed(t *testing.T) {
	limit := &registrytest.RateLimit{Limit: 1, Window: 6 * time.Hour, States: registrytest.DockerHubLimit}
	s := newSyncTest(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})
	f := imagetest.Platforms(2, 1, 100)
	f.PushTo(s.src, "one", "1", imagetest.Top)
	f.PushTo(s.dst, "mirror/one", "old", imagetest.Top)
	s.write("images:\n- {source: SRC/one, tags: ['*'], destination: DST/mirror/one}\n")
	report := s.syncJSON(StatusPostponed, "--delete")
	assert.Contains(t, report.Warnings, "--delete removes nothing, because an image failed")
	assert.Equal(t, []string{"old"}, s.dst.Tags("mirror/one"))
}
