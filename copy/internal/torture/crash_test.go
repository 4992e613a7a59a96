//go:build linux

package torture

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestTortureCrash kills copying processes with SIGKILL at random moments: at a request that is
// drawn by lot, before or after it is answered, or a little later. The tag is what it was or
// complete, and the next run leads to what a run without a crash leads to.
func TestTortureCrash(t *testing.T) {
	seed := tortureSeed(t)
	rng := seededRand(seed)
	crashes := 12
	if fullTorture() {
		crashes = 300
	}
	var targets []*prepared
	for _, w := range workloads() {
		if slices.Contains([]string{"fresh", "widening", "auto", "nested strip", "to a layout", "to a directory", "to an archive"}, w.name) {
			targets = append(targets, w.prepare(t))
		}
	}
	survived, finished := 0, 0
	for range crashes {
		w := targets[rng.IntN(len(targets))]
		side := copy.SourceSide
		if len(w.methods[copy.DestinationSide]) > 0 && rng.IntN(2) == 0 {
			side = copy.DestinationSide
		}
		c := crash{w, side, 1 + rng.IntN(len(w.methods[side])), time.Duration(rng.IntN(4)) * 2 * time.Millisecond}
		if c.play(t) {
			survived++
		} else {
			finished++
		}
		require.False(t, t.Failed(), "seed %d, %s, %s %d: SPARSECOPY_TORTURE_SEED=%[1]d go test -count=1 -run '^TestTortureCrash$' ./copy/internal/torture", seed, w.name, side, c.n)
	}
	t.Logf("seed %d: %d processes killed, %d ended before they could be", seed, survived, finished)
}

// A crash is a copy whose process is killed at the n-th request of a side: at once, without an
// answer, if after is 0; else that long after it was answered, and no other request is answered
// from then on, so that the process cannot get far.
type crash struct {
	*prepared
	side  copy.Side
	n     int
	after time.Duration
}

// play returns whether the process was killed before its end.
func (c crash) play(t *testing.T) (killed bool) {
	var process *os.Process
	started := make(chan struct{}) // closed when process is set
	var dying, dead atomic.Bool
	script := func(side copy.Side) registrytest.Script {
		return func(n int, _ *http.Request) registrytest.Answer {
			<-started
			switch {
			case dead.Load():
				return registrytest.Answer{}
			case dying.Load():
				return registrytest.Stall()
			case side != c.side || n != c.n:
				return registrytest.Answer{}
			case c.after == 0:
				_ = process.Kill()
				return registrytest.Close()
			}
			dying.Store(true)
			time.AfterFunc(c.after, func() { _ = process.Kill() })
			return registrytest.Answer{}
		}
	}
	so, do := registrytest.Options{Script: script(copy.SourceSide)}, registrytest.Options{Strict: c.strict, Script: script(copy.DestinationSide)}
	r := c.begin(t, so, do, 0)
	defer r.end()
	task := childTask{
		Do: "copy", Source: "docker:" + r.source(0).StringWithinTransport(),
		Destination: r.destinationRef(0).Transport().Name() + ":" + r.destinationRef(0).StringWithinTransport(),
	}
	for _, p := range c.options.InstancePlatforms {
		task.Options.Platforms = append(task.Options.Platforms, p.String())
	}
	task.Options.All = c.options.ImageListSelection == copy.CopyAllImages
	task.Options.Action = c.options.SparseManifestListAction
	cmd := task.command(t)
	var output bytes.Buffer
	cmd.Stderr = &output
	require.NoError(t, cmd.Start())
	process = cmd.Process
	close(started)
	err := cmd.Wait()
	dead.Store(true)
	killed = err != nil && !cmd.ProcessState.Exited()
	if !killed {
		require.NoError(t, err, output.String())
	}
	assert.Empty(t, r.neitherOldNorNew(0, r.newTop), "killed: %v", killed)
	require.NoError(t, r.copy(c.options)[0])
	assert.Empty(t, r.incomplete(r.newTop))
	if r.to == "layout" { // which alone can tell whether a writer is dead
		entries, err := os.ReadDir(r.dir)
		require.NoError(t, err)
		for _, entry := range entries {
			assert.False(t, strings.HasPrefix(entry.Name(), ".sparsecopy-"), "left behind by a dead process: %s", filepath.Join(r.dir, entry.Name()))
		}
	}
	return killed
}

// TestTortureCrashManyWriters kills one of several processes that write to the same layout. The
// others finish, and no tag is lost.
func TestTortureCrashManyWriters(t *testing.T) {
	f := imagetest.Platforms(2, 2, 100_000)
	dir := filepath.Join(t.TempDir(), "layout")
	var process atomic.Pointer[os.Process]
	src := copytest.StartPeer(t, registrytest.Options{Script: func(_ int, req *http.Request) registrytest.Answer {
		if p := process.Load(); p != nil && strings.Contains(req.URL.Path, "/victim/blobs/") {
			_ = p.Kill()
		}
		return registrytest.Answer{}
	}}, nil)
	tags := []string{"a", "b", "victim"}
	var wait []func() error
	for _, tag := range tags {
		f.PushTo(src.Registry, tag, "v1", imagetest.Top)
		cmd := childTask{
			Do: "copy", Source: "docker://" + src.Addr + "/" + tag + ":v1", Destination: "oci:" + dir + ":" + tag,
			Options: childOptions{All: true},
		}.command(t)
		require.NoError(t, cmd.Start())
		if tag == "victim" {
			process.Store(cmd.Process)
		}
		wait = append(wait, cmd.Wait)
	}
	for i, w := range wait {
		if err := w(); tags[i] != "victim" {
			require.NoError(t, err)
			imagetest.CheckLayout(t, dir, imagetest.Want{Tag: tags[i], Digest: f.Digest(imagetest.Top), Fixture: f})
		}
	}
}
