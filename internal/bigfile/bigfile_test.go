package bigfile

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"
)

func TestNothingStaysBehind(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(&types.SystemContext{BigFilesTemporaryDir: dir}, "test-")
	require.NoError(t, err)
	_, err = f.WriteString("content")
	require.NoError(t, err)
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	require.NoError(t, err)
	assert.Equal(t, "content", string(content))
	require.NoError(t, f.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)

	_, err = Create(&types.SystemContext{BigFilesTemporaryDir: filepath.Join(dir, "gone")}, "test-")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}
