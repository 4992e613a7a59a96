package regular

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file, link, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	require.NoError(t, os.WriteFile(file, []byte("content"), 0o600))
	require.NoError(t, os.Symlink("file", link))
	require.NoError(t, os.Symlink("nothing", dangling))
	for _, path := range []string{file, link} {
		f, size, err := Open(path)
		require.NoError(t, err)
		assert.EqualValues(t, 7, size)
		content, err := io.ReadAll(f)
		require.NoError(t, err)
		assert.Equal(t, "content", string(content))
		require.NoError(t, f.Close())
	}
	for _, path := range []string{filepath.Join(dir, "nothing"), dangling} {
		_, _, err := Open(path)
		assert.ErrorIs(t, err, fs.ErrNotExist, path)
	}
	_, _, err := Open(dir)
	assert.ErrorContains(t, err, dir+" is no regular file (d")
}
