package mirrorserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWatch(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(a, "1")
	w := NewWatch(a, b)
	assert.False(t, w.Changed())
	write(a, "1")
	assert.False(t, w.Changed(), "the same contents")
	write(a, "2") // within the same moment, and of the same length
	assert.True(t, w.Changed())
	assert.False(t, w.Changed())
	write(b, "")
	assert.True(t, w.Changed())
	require.NoError(t, os.Remove(a))
	assert.True(t, w.Changed())
	assert.False(t, w.Changed())

	c := filepath.Join(t.TempDir(), "c")
	w.Set(b, c)
	assert.False(t, w.Changed())
	write(c, "made later")
	w.Set(b, c)
	assert.True(t, w.Changed(), "what was noticed by nobody yet")
	assert.False(t, w.Changed())

	// As Kubernetes replaces a ConfigMap: a link to a directory is renamed.
	dir := t.TempDir()
	mount := func(name, text string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		write(filepath.Join(dir, name, "f"), text)
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "data")))
	}
	mount("v1", "1")
	w = NewWatch(filepath.Join(dir, "data", "f"))
	mount("v2", "2")
	assert.True(t, w.Changed())

	require.NoError(t, os.Mkdir(a, 0o700))
	w = NewWatch(a, b)
	assert.False(t, w.Changed())
	require.NoError(t, os.Remove(b))
	require.NoError(t, os.Mkdir(b, 0o700))
	assert.True(t, w.Changed())
}
