package mirrorcmd

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// TestSyncHoldsLittleOfEachImage: what waits to be copied, and what was noted, is small, so that
// one process holds a mirror of 10,000 images.
func TestSyncHoldsLittleOfEachImage(t *testing.T) {
	const (
		images = 2000
		most   = 4 << 10 // bytes an image
	)
	text := []byte("images:\n")
	for i := range images {
		text = fmt.Appendf(text, "- {source: 'docker://src.example/app/%d:1', destination: 'docker://mirror.example/app/%d'}\n", i, i)
	}
	store, _, err := state.Open(filepath.Join(t.TempDir(), "state"))
	require.NoError(t, err)
	defer store.Close()
	before := live()
	file, err := syncfile.Parse("images.yaml", text, parseReference)
	require.NoError(t, err)
	r := &runner{env: &environment{}, file: file, signers: &syncfile.Signers{}, memory: &memory{store: store, now: (&environment{}).now}}
	found, err := r.expand(t.Context())
	require.NoError(t, err)
	require.Len(t, found.todo, images)
	for i := range found.todo {
		entry := &found.images[i]
		c := &task{Copy: found.todo[i], entry: entry, recalled: r.recall(found.todo[i].Image, entry)}
		r.note(c, copy.Result{SourceDigest: "sha256:a", DestinationDigest: "sha256:b"}, &copy.Report{Instances: make([]copy.InstanceReport, 8)})
	}
	assert.Less(t, (live()-before)/images, most)
	runtime.KeepAlive(found)
}

// live is how many bytes are in use.
func live() int {
	runtime.GC()
	runtime.GC() // what finalizers have let go
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

// TestMemoryThatCannotBeWritten has a state that fails, and then works again: the page says so as
// long as it fails.
func TestMemoryThatCannotBeWritten(t *testing.T) {
	closed, _, err := state.Open(filepath.Join(t.TempDir(), "closed"))
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	m := &memory{store: closed, now: (&environment{}).now}
	s := &serving{memory: m, engine: mirrorserver.NewEngine(mirrorserver.EngineOptions{})}
	assert.Empty(t, s.notices())
	m.expectOne("docker://mirror.example/app:1", "docker://src.example/app:1")
	require.Len(t, s.notices(), 1)
	assert.Contains(t, s.notices()[0], "The state cannot be written")
	m.flush()
	assert.Len(t, s.notices(), 1)
	works, _, err := state.Open(filepath.Join(t.TempDir(), "works"))
	require.NoError(t, err)
	defer works.Close()
	m.store = works
	m.flush()
	assert.Empty(t, s.notices())
}
