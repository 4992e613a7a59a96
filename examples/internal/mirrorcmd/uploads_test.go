package mirrorcmd

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestResumeDir: the directory is made for its owner alone, and refused where somebody else may
// write to it.
func TestResumeDir(t *testing.T) {
	require.NoError(t, (&uploads{}).check())
	dir := filepath.Join(t.TempDir(), "new", "dir")
	require.NoError(t, (&uploads{resumeDir: dir}).check())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	mirror(t, "copy", "--resume-dir", file, "docker://a.example/b", "docker://c.example/b").failed(t, StatusMisused, "--resume-dir", file)
	if runtime.GOOS == "windows" {
		return // modes say nothing there
	}
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, os.Chmod(dir, 0o770))
	mirror(t, "copy", "--resume-dir", dir, "docker://a.example/b", "docker://c.example/b").
		failed(t, StatusMisused, "--resume-dir", dir, "others may write to it (chmod go-w)")
}
