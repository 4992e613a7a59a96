package mirrorcmd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

var weekSeed = flag.Uint64("week", 1, "what makes TestWeek what it is")

// weekNow is the variable by which a process that a test starts is the command mirror, at that
// time.
const weekNow = "MIRROR_TEST_NOW"

// A hasty clock goes forward by as much as whoever waits has to wait.
type hasty struct{ *clocktest.Fake }

func (h hasty) NewTimer(d time.Duration) clock.Timer {
	timer := h.Fake.NewTimer(d)
	h.Advance(max(0, d))
	return timer
}

// mirrorAt is the command mirror at a time.
func mirrorAt(now string) int {
	start, err := time.Parse(time.RFC3339, now)
	if err != nil {
		panic(err)
	}
	e := &environment{
		ctx: context.Background(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv,
		clock: hasty{clocktest.New(start)},
	}
	return e.run(os.Args[1:])
}

// The numbers of a week.
const (
	weekImages   = 80
	weekRunEvery = 12*time.Hour + time.Minute
	weekRuns     = 14
	weekQuiet    = 2 // runs at the end in which nothing happens
	weekLimit    = 60
	weekRemain   = 6
	weekParallel = 8
)

// A week is a mirror, and what happens to it.
type week struct {
	*syncTest
	rand   *rand.Rand
	clock  *clocktest.Fake
	memory string
	cache  string

	latest [weekImages]*imagetest.Fixture // at the source
	lists  int                            // that the source ever had
	images int                            // of those lists, by their digests
	kills  int
	lost   int // images that the mirror had

	mu     sync.Mutex
	pulls  int             // guarded by mu
	pulled map[string]bool // manifests, by repository and digest; guarded by mu
	left   int             // requests until the running process is killed, if there are so many; guarded by mu
	victim *os.Process     // is that one; guarded by mu

	down atomic.Bool // the source
}

func newWeek(t *testing.T) *week {
	hermetictest.Home(t)
	w := &week{pulled: map[string]bool{}, rand: rand.New(rand.NewPCG(*weekSeed, 0)), clock: clocktest.New(time.Time{})}
	limit := &registrytest.RateLimit{Limit: weekLimit, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: w.clock}
	w.syncTest = newSyncTest(t,
		registrytest.Options{RateLimit: limit, Script: func(_ int, req *http.Request) registrytest.Answer {
			w.count()
			if w.down.Load() {
				return registrytest.Close()
			}
			w.notePull(req)
			return registrytest.Answer{}
		}},
		registrytest.Options{Script: func(int, *http.Request) registrytest.Answer {
			w.count()
			return registrytest.Answer{}
		}},
	)
	w.memory, w.cache = filepath.Join(t.TempDir(), "memory"), t.TempDir()
	var file strings.Builder
	file.WriteString("defaults: {platforms: [linux/amd64, linux/arm64]}\nimages:\n")
	for i := range weekImages {
		fmt.Fprintf(&file, "- {source: SRC/%s:1, destination: DST/%s}\n", weekRepository(i), weekRepository(i))
		w.release(i, 0)
	}
	w.write(file.String())
	return w
}

func weekRepository(i int) string { return fmt.Sprintf("app/n%d", i) }

// release puts a version of an image to the source, of which one platform is new, after the first
// one.
func (w *week) release(i, version int) {
	f := imagetest.New()
	f.Layer("a", imagetest.Random(uint64(1+i*1000+version), 100))
	f.Layer("b", imagetest.Random(uint64(1+i*1000+999), 100))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("a"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("b"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
	f.PushTo(w.src, weekRepository(i), "1", imagetest.Top)
	w.lists++
	if w.images++; w.latest[i] == nil {
		w.images++
	}
	w.latest[i] = f
}

// count counts a request, and kills the process if it is its last one.
func (w *week) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left--; w.left == 0 {
		_ = w.victim.Kill() // it may have ended
	}
}

// notePull notes a request to the source, if it is a pull.
func (w *week) notePull(req *http.Request) {
	repository, name, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/manifests/")
	if !ok || req.Method != http.MethodGet {
		return
	}
	if d, tagged := w.src.Resolve(repository, name); tagged {
		name = d.String()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pulls++
	w.pulled[repository+"@"+name] = true
}

// run runs the command, and kills it at its n-th request if n is not 0. It returns the exit status,
// -1 if it was killed.
func (w *week) run(n int, args ...string) (status int, output string) {
	w.Helper()
	self, err := os.Executable()
	require.NoError(w, err)
	command := exec.CommandContext(w.Context(), self, append([]string{
		"sync", "--state-dir", w.state, "--state", w.memory, "--cache-dir", w.cache, "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
		"--min-remaining", fmt.Sprint(weekRemain), "--jobs", fmt.Sprint(weekParallel), "--parallel", fmt.Sprint(weekParallel),
	}, append(args, w.file)...)...)
	command.Env = append(os.Environ(), weekNow+"="+w.clock.Now().Format(time.RFC3339))
	var all bytes.Buffer
	command.Stdout, command.Stderr = &all, &all
	require.NoError(w, w.start(command, n))
	err = command.Wait()
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode(), all.String()
	}
	require.NoError(w, err)
	return 0, all.String()
}

// start starts a process, which is killed at its n-th request if n is not 0.
func (w *week) start(command *exec.Cmd, n int) error {
	w.mu.Lock() // which its requests wait for
	defer w.mu.Unlock()
	err := command.Start()
	w.victim, w.left = command.Process, n
	return err
}

// cleanUp removes an image of a list at the mirror, if there is one.
func (w *week) cleanUp(i int) {
	name := []string{"amd64", "arm64"}[w.rand.IntN(2)]
	if w.dst.DeleteManifest(weekRepository(i), w.latest[i].Digest(name)) {
		w.lost++
	}
}

// happens lets happen what happens before a run, and returns after how many requests that is
// killed, 0 for never.
func (w *week) happens(run int) (kill int) {
	w.clock.Advance(weekRunEvery)
	w.down.Store(run == 8 || run == 9)
	if run >= weekRuns-weekQuiet {
		return 0
	}
	for range 2 {
		w.release(w.rand.IntN(weekImages), run)
	}
	if run == 10 {
		for range 6 {
			w.cleanUp(w.rand.IntN(weekImages))
		}
	}
	if w.down.Load() || w.rand.IntN(3) > 0 {
		return 0
	}
	return 1 + w.rand.IntN(200)
}

// refusals counts pulls that the source has refused for being too many.
func (w *week) refusals() int {
	return w.src.Count(func(q registrytest.Request) bool { return q.Status == http.StatusTooManyRequests })
}

// TestWeek lets a mirror run for a week: tags move, the source allows sixty pulls in six hours
// and is down for a day, a clean-up job removes images at the mirror, and now and then the process
// is killed. In the end everything is where it should be, and the source was asked for no manifest
// twice, but for those whose answers a killed process has not kept.
func TestWeek(t *testing.T) {
	w := newWeek(t)
	defer func() {
		if t.Failed() {
			t.Logf("go test -run TestWeek ./internal/mirrorcmd -args -week %d", *weekSeed)
		}
	}()
	ended := map[int]int{}
	for run := range weekRuns {
		kill := w.happens(run)
		status, output := w.run(kill)
		if status < 0 {
			w.kills++
		}
		ended[status]++
		switch {
		case status < 0, w.down.Load() && status == StatusFailed, status == StatusPostponed, status == StatusDone:
		default:
			t.Fatalf("run %d ended with status %d:\n%s", run, status, output)
		}
	}
	t.Logf("statuses: %v", ended)
	assert.NotZero(t, ended[StatusPostponed])
	assert.NotZero(t, ended[StatusFailed])
	assert.NotZero(t, w.kills)
	assert.NotZero(t, w.lost)

	w.clock.Advance(weekRunEvery)
	status, output := w.run(0, "--exit-unchanged")
	assert.Equal(t, StatusUnchanged, status, output)
	w.everythingIsThere()
	t.Logf("%d pulls of %d manifests; there were %d lists and %d images; %d kills", w.pulls, len(w.pulled), w.lists, w.images, w.kills)
	assert.LessOrEqual(t, len(w.pulled), w.lists+w.images)
	assert.LessOrEqual(t, w.pulls, len(w.pulled)+w.kills*weekParallel)
	assert.Zero(t, w.refusals(), "the last pulls are left to others")
}

// everythingIsThere holds the mirror and its state against the source.
func (w *week) everythingIsThere() {
	known := map[string]state.Image{}
	all, err := state.Read(w.memory)
	require.NoError(w, err)
	for _, image := range all {
		known[image.Destination] = image
	}
	assert.Len(w, known, weekImages)
	for i, f := range w.latest {
		repository := weekRepository(i)
		assert.Empty(w, imagetest.Inspect(imagetest.RegistryStore(w.dst, repository), imagetest.Want{Tag: "1", Digest: f.Digest(imagetest.Top), Fixture: f}), repository)
		image := known["docker://"+w.dst.Host()+"/"+repository+":1"]
		assert.Equal(w, state.Mirrored, image.Status, repository)
		assert.Equal(w, f.Digest(imagetest.Top), image.SourceDigest, repository)
	}
}
