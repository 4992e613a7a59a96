package storagetorture

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/audit"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// taskVariable makes the test binary check or collect the storage that it names, as
// "check:DIRECTORY", and say what that took.
const taskVariable = "STORAGETORTURE_TASK"

// The tasks.
const (
	checkAll    = "check"
	checkNoHash = "check without hashing"
	collectAll  = "gc"
	collectToo  = "gc of untagged manifests"
)

// task is a process that does one.
func task(what, storage string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), taskVariable+"="+what+":"+storage)
	cmd.Stderr = os.Stderr
	return cmd
}

// A measurement is what a process that did one thing says of itself.
type measurement struct {
	What     string
	Seconds  float64
	Resident int64 // bytes, at most
	Damage   int
	Faults   int
	Orphans  int
	Removed  registrygc.Totals
}

func (m measurement) String() string {
	return fmt.Sprintf("%s: %.1f s, %d MiB resident", m.What, m.Seconds, m.Resident>>20)
}

// doForParent is what the test binary does as a task.
func doForParent(task string) {
	what, storage, _ := strings.Cut(task, ":")
	m := measurement{What: what}
	begun := time.Now()
	if err := m.do(what, storage); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m.Seconds, m.Resident = time.Since(begun).Seconds(), peakResident()
	_ = json.NewEncoder(os.Stdout).Encode(m)
	os.Exit(0)
}

func (m *measurement) do(what, storage string) error {
	store, err := registrystore.OpenDirectory(storage)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if what == collectAll || what == collectToo {
		m.Removed, err = collect(ctx, store, what == collectToo)
		return err
	}
	report, err := audit.Check(ctx, store, audit.Options{Policies: lenient, SkipContent: what == checkNoHash})
	if err != nil {
		return err
	}
	m.Damage, m.Faults, m.Orphans = report.Damage, report.Faults, report.Notes
	return nil
}

// peakResident is the largest part of this process that has been in memory, 0 where that is not
// told.
func peakResident() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(status) {
		if kilobytes, ok := strings.CutPrefix(string(line), "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kilobytes), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

func measure(t *testing.T, what, storage string) measurement {
	t.Helper()
	out, err := task(what, storage).Output()
	require.NoError(t, err)
	var m measurement
	require.NoError(t, json.Unmarshal(out, &m))
	t.Log(m)
	return m
}

// A scribe writes a storage as distribution does, without syncing.
type scribe struct {
	t       *testing.T
	storage string
}

func (s scribe) write(content []byte, elements ...string) {
	path := filepath.Join(append([]string{s.storage, "docker/registry/v2"}, elements...)...)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s.t, os.WriteFile(path, content, 0o644))
}

func (s scribe) content(content []byte) digest.Digest {
	d := digest.FromBytes(content)
	s.write(content, "blobs/sha256", d.Encoded()[:2], d.Encoded(), "data")
	return d
}

func (s scribe) blob(repo string, content []byte) {
	d := s.content(content)
	s.write([]byte(d), "repositories", repo, "_layers/sha256", d.Encoded(), "link")
}

func (s scribe) document(repo, tag string, d document) {
	s.content(d.body)
	s.write([]byte(d.digest), "repositories", repo, "_manifests/revisions/sha256", d.digest.Encoded(), "link")
	if tag != "" {
		tags := filepath.Join("repositories", repo, "_manifests/tags", tag)
		s.write([]byte(d.digest), tags, "index/sha256", d.digest.Encoded(), "link")
		s.write([]byte(d.digest), tags, "current/link")
	}
}

// lists writes n lists of three platforms, a fifth of them sparse, spread over repositories of 500;
// half of the sparse ones are in lists of lists. Every tenth list has no tag. It returns how many
// those are, with everything that only they need.
func (s scribe) lists(n int) (untagged registrygc.Totals) {
	base := bytes.Repeat([]byte("base"), 1000)
	for i := range n {
		repo := fmt.Sprintf("team%d/app", i/500)
		s.blob(repo, base)
		tag := "v" + strconv.Itoa(i)
		if i%10 == 3 {
			tag = ""
		}
		var children []document
		add := func(d document) {
			s.document(repo, "", d)
			if tag == "" {
				untagged.Manifests++
				untagged.Blobs++
				untagged.Bytes += int64(len(d.body))
			}
		}
		for platform := range 3 {
			config, layer := fmt.Appendf(nil, "config %d %d", i, platform), fmt.Appendf(nil, "layer %d %d", i, platform)
			child := image(3*i+platform, false, nil, config, base, layer)
			children = append(children, child)
			if i%5 == 0 && platform > 0 {
				continue // sparse
			}
			for _, blob := range [][]byte{config, layer} {
				s.blob(repo, blob)
				if tag == "" {
					untagged.Layers++
					untagged.Blobs++
					untagged.Bytes += int64(len(blob))
				}
			}
			add(child)
		}
		top := list(i, false, nil, children...)
		if i%10 == 5 {
			add(top)
			top = list(i, false, nil, top)
		}
		add(top)
		if tag != "" {
			s.document(repo, tag, top)
		}
	}
	return untagged
}

// TestTortureManyLists checks and collects a storage of 10^4 lists, in processes of their own,
// whose time and memory it tells.
func TestTortureManyLists(t *testing.T) {
	n := 20 // what is of one kind comes again every ten
	if full() {
		n = 10_000
	}
	w := &world{t: t, storage: t.TempDir()}
	untagged := scribe{t, w.storage}.lists(n)
	w.timePasses()
	for _, what := range []string{checkAll, checkNoHash} {
		m := measure(t, what, w.storage)
		assert.Zero(t, m.Damage+m.Faults+m.Orphans, what)
	}
	assert.Equal(t, untagged, measure(t, collectToo, w.storage).Removed)
	assert.Zero(t, measure(t, collectToo, w.storage).Removed)
	m := measure(t, checkAll, w.storage)
	assert.Zero(t, m.Damage+m.Faults+m.Orphans)
}
