package blobdir

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linkable makes a file in dir, of the file system of tests, that may be linked.
func linkable(t *testing.T, dir string) *os.File {
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
	require.NoError(t, os.Chmod(path, 0o644))
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// isLink reports whether the blob is f itself.
func isLink(t *testing.T, d *Dir, blob digest.Digest, f *os.File) bool {
	info, err := os.Stat(d.Path(blob))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	require.NoError(t, err)
	open, err := f.Stat()
	require.NoError(t, err)
	return os.SameFile(info, open)
}

func TestLink(t *testing.T) {
	blob := digest.FromString("content")
	for name, c := range map[string]struct {
		change func(t *testing.T, path string) error
		linked bool
	}{
		"as blobs are":            {func(*testing.T, string) error { return nil }, true},
		"nobody may write":        {func(_ *testing.T, path string) error { return os.Chmod(path, 0o444) }, true},
		"its group may write":     {func(_ *testing.T, path string) error { return os.Chmod(path, 0o664) }, false},
		"all may write":           {func(_ *testing.T, path string) error { return os.Chmod(path, 0o646) }, false},
		"others may not read":     {func(_ *testing.T, path string) error { return os.Chmod(path, 0o640) }, false},
		"nobody may read":         {func(_ *testing.T, path string) error { return os.Chmod(path, 0o000) }, false},
		"it is a program":         {func(_ *testing.T, path string) error { return os.Chmod(path, 0o755) }, false},
		"whoever runs it is ours": {func(_ *testing.T, path string) error { return os.Chmod(path, 0o644|fs.ModeSetuid) }, false},
		"it was removed":          {func(_ *testing.T, path string) error { return os.Remove(path) }, false},
		"it was replaced": {func(t *testing.T, path string) error {
			other := filepath.Join(t.TempDir(), "other")
			return errors.Join(os.WriteFile(other, []byte("other"), 0o600), os.Rename(other, path))
		}, false},
		"it is another's": {func(t *testing.T, path string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root gives files away")
			}
			return os.Chown(path, 1, -1)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newDir(t, Fsync), linkable(t, t.TempDir())
			require.NoError(t, d.Write(blob, 3, bytes.NewReader([]byte("old"))))
			require.NoError(t, c.change(t, f.Name()))
			verified := false
			linked, err := d.Link(blob, f, func() error {
				verified = true
				assert.False(t, isLink(t, d, blob, f), "before it is the blob")
				return nil
			})
			require.NoError(t, err)
			assert.Equal(t, c.linked, linked)
			assert.Equal(t, c.linked, verified, "it is read once")
			assert.Equal(t, c.linked, isLink(t, d, blob, f))
			assertNothingLeft(t, d)
		})
	}
}

func TestLinkOfAnotherFileSystem(t *testing.T) {
	d, f, blob := newDir(t, nil), linkable(t, elsewhere(t)), digest.FromString("content")
	linked, err := d.Link(blob, f, func() error { return errors.New("it is read") })
	require.NoError(t, err)
	assert.False(t, linked)
	assert.NoFileExists(t, d.Path(blob))
	assertNothingLeft(t, d)
}

func TestLinkThatFailsChangesNothing(t *testing.T) {
	blob, broken := digest.FromString("content"), errors.New("broken")
	fails, works := func() error { return broken }, func() error { return nil }
	for name, c := range map[string]struct {
		verify func() error
		sync   func(*os.File) error
	}{
		"verifying": {fails, nil},
		"syncing":   {works, func(*os.File) error { return broken }},
	} {
		d, f := newDir(t, c.sync), linkable(t, t.TempDir())
		linked, err := d.Link(blob, f, c.verify)
		require.ErrorIs(t, err, broken, name)
		assert.False(t, linked, name)
		assert.NoFileExists(t, d.Path(blob), name)
		assertNothingLeft(t, d)
	}
}
