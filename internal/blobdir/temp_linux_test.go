package blobdir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// elsewhere returns a directory of another file system than t.TempDir's.
func elsewhere(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, parent := range []string{"/dev/shm", "/var/tmp", "/run"} {
		dir, err := os.MkdirTemp(parent, "sparsecopy-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		if errors.Is(os.Rename(file, filepath.Join(dir, "file")), syscall.EXDEV) {
			return dir
		}
	}
	t.Skip("there is one file system only")
	return ""
}

// TestBlobsOnAnotherFileSystem: all of them, or those of an algorithm.
func TestBlobsOnAnotherFileSystem(t *testing.T) {
	for _, linked := range []string{"blobs", "blobs/sha256"} {
		d := newDir(t, Fsync)
		place, link := elsewhere(t), filepath.Join(filepath.Dir(d.Temp), linked)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
		require.NoError(t, os.Symlink(place, link))
		content := contentOf(2*bufferSize + 1)
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			blob := algorithm.FromBytes(content)
			old, recent := filepath.Join(filepath.Dir(d.Path(blob)), tempPrefix+"1"), filepath.Join(filepath.Dir(d.Path(blob)), tempPrefix+"2")
			require.NoError(t, os.MkdirAll(filepath.Dir(old), 0o755))
			require.NoError(t, os.WriteFile(old, nil, 0o600))
			require.NoError(t, os.WriteFile(recent, nil, 0o600))
			require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-tempAge-time.Minute)))

			require.ErrorContains(t, d.Write(blob, 1, bytes.NewReader(content)), "want 1")
			require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)))
			stored, err := os.ReadFile(d.Path(blob))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, stored))
			if algorithm == digest.SHA256 { // on the other file system in either case
				assert.NoFileExists(t, old)
			}
			assert.FileExists(t, recent, "somebody may be writing")
			require.NoError(t, os.Remove(recent))
			_ = os.Remove(old)
			entries, err := os.ReadDir(filepath.Dir(d.Path(blob)))
			require.NoError(t, err)
			assert.Len(t, entries, 1)
		}
		require.NoError(t, d.SyncNames())
		assertNothingLeft(t, d)
	}
}

// TestWhatCannotBeRemovedIsInNobodysWay has something in the place of such a file that others may
// have left, and that this process cannot remove.
func TestWhatCannotBeRemovedIsInNobodysWay(t *testing.T) {
	d, content := newDir(t, Fsync), []byte("content")
	blob := digest.FromBytes(content)
	require.NoError(t, os.Symlink(elsewhere(t), d.Blobs))
	stuck := filepath.Join(filepath.Dir(d.Path(blob)), tempPrefix+"1")
	require.NoError(t, os.MkdirAll(filepath.Join(stuck, "full"), 0o755))
	require.NoError(t, os.Chtimes(stuck, time.Time{}, time.Now().Add(-tempAge-time.Minute)))
	require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)))
	assert.FileExists(t, d.Path(blob))
	assert.DirExists(t, stuck)
}
