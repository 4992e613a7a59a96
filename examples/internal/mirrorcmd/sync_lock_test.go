package mirrorcmd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLocksAreOne: however much a run writes to, it has two files, and leaves none of them.
func TestLocksAreOne(t *testing.T) {
	env, dir := &environment{getenv: os.Getenv}, t.TempDir()
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("docker://mirror.example/%d", i))
	}
	slices.Sort(many)
	lock, err := lockAll(env, dir, many)
	require.NoError(t, err)
	other, err := lockAll(env, dir, []string{"docker://mirror.example/other", "oci:/a\nb"})
	require.NoError(t, err)
	assert.Len(t, locksIn(t, dir), 5) // with the gate
	for _, taken := range []string{many[0], many[5000], many[9999], "oci:/a\nb"} {
		keys := []string{"docker://mirror.example/new", taken}
		slices.Sort(keys)
		_, err = lockAll(env, dir, keys)
		assert.ErrorContains(t, err, "another run is writing to "+taken+" (process ")
	}
	assert.Len(t, locksIn(t, dir), 5)
	lock.release()
	again, err := lockAll(env, dir, many)
	require.NoError(t, err)
	again.release()
	other.release()
	assert.Equal(t, []string{"gate"}, locksIn(t, dir))
}

// TestLocksEndWithTheirProcess leaves behind what processes leave that are killed.
func TestLocksEndWithTheirProcess(t *testing.T) {
	env, dir := &environment{getenv: os.Getenv}, t.TempDir()
	lock, err := lockAll(env, dir, []string{"docker://mirror.example/a"})
	require.NoError(t, err)
	require.NoError(t, lock.lock.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "locks", "BEGUN.claim"), []byte(`{"hold`), 0o600))
	lock, err = lockAll(env, dir, []string{"docker://mirror.example/a"})
	require.NoError(t, err)
	assert.Len(t, locksIn(t, dir), 3)

	require.NoError(t, os.WriteFile(lock.claim, []byte(`{"hold`), 0o600))
	_, err = lockAll(env, dir, []string{"docker://mirror.example/b"})
	assert.ErrorContains(t, err, "what another run is writing to, by "+lock.claim)
	lock.release()
}

func locksIn(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(dir, "locks"))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
