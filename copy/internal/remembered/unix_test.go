//go:build unix

package remembered

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// makePipe makes a pipe, whose opening waits.
func makePipe(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, syscall.Mkfifo(path, 0o600))
}

// TestReplacedAtOnce: whoever is reading the file when another takes its place reads on.
func TestReplacedAtOnce(t *testing.T) {
	dir := t.TempDir()
	file := &File{dir: dir, maxBytes: 1_000, maxKept: 500}
	require.NoError(t, file.Remember(t.Context(), one("a")))
	before := read(t, dir)
	reader, err := os.Open(filepath.Join(dir, fileName))
	require.NoError(t, err)
	defer reader.Close()
	for _, image := range []string{"b", "c"} {
		require.NoError(t, file.Remember(t.Context(), one(image)))
	}
	assert.Equal(t, []string{"c"}, remembered(t, dir, "a", "b", "c"))
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	assert.Equal(t, before, string(text[:len(before)]))
}
