package blobdir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newDir returns a Dir of a test, which syncs as note says.
func newDir(t *testing.T, note func(*os.File) error) *Dir {
	dir := t.TempDir()
	temp := filepath.Join(dir, "temp")
	require.NoError(t, os.Mkdir(temp, 0o755))
	return &Dir{Blobs: filepath.Join(dir, "blobs"), Temp: temp, Sync: note}
}

// assertNothingLeft checks that no file was left half done.
func assertNothingLeft(t *testing.T, d *Dir) {
	t.Helper()
	entries, err := os.ReadDir(d.Temp)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// contentOf is n bytes that do not repeat soon.
func contentOf(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i * i >> 5)
	}
	return content
}

func TestWrite(t *testing.T) {
	for _, size := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 3*bufferSize + 5} {
		for name, read := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r },
			"half":  iotest.HalfReader,
			"end":   iotest.DataErrReader, // the end comes with the last bytes
		} {
			for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
				for _, stated := range []int64{int64(size), -1} {
					t.Run(fmt.Sprint(size, name, algorithm, stated), func(t *testing.T) {
						content := contentOf(size)
						blob, d := algorithm.FromBytes(content), newDir(t, Fsync)
						has, err := d.Has(blob, stated)
						require.NoError(t, err)
						assert.False(t, has)

						require.NoError(t, d.Write(blob, stated, read(bytes.NewReader(content))))
						path := filepath.Join(d.Blobs, algorithm.String(), blob.Encoded())
						assert.Equal(t, path, d.Path(blob))
						stored, err := os.ReadFile(path)
						require.NoError(t, err)
						assert.True(t, bytes.Equal(content, stored))
						info, err := os.Stat(path)
						require.NoError(t, err)
						assert.Equal(t, os.FileMode(0o644), info.Mode(), "whatever the umask says: others read layouts")
						has, err = d.Has(blob, stated)
						require.NoError(t, err)
						assert.True(t, has)
						has, err = d.Has(blob, int64(size)+1)
						require.NoError(t, err)
						assert.False(t, has)
						assertNothingLeft(t, d)
					})
				}
			}
		}
	}
}

func TestHasAsksForAFile(t *testing.T) {
	d := newDir(t, nil)
	blob := digest.FromString("x")
	require.NoError(t, os.MkdirAll(d.Path(blob), 0o755))
	has, err := d.Has(blob, -1)
	require.NoError(t, err)
	assert.False(t, has, "it is a directory")
	require.NoError(t, os.RemoveAll(d.Blobs))
	require.NoError(t, os.WriteFile(d.Blobs, nil, 0o600))
	_, err = d.Has(blob, -1)
	assert.Error(t, err, "nothing can be there, nor get there")
}

func TestWhatFailsChangesNothing(t *testing.T) {
	content := contentOf(2*bufferSize + 7)
	blob, size := digest.FromBytes(content), int64(len(content))
	broken := errors.New("broken")
	after := func(n int64, err error) func() io.Reader {
		return func() io.Reader { return io.MultiReader(bytes.NewReader(content[:n]), iotest.ErrReader(err)) }
	}
	for name, c := range map[string]struct {
		content func() io.Reader
		size    int64
		is      error
		says    string
	}{
		"at once":            {after(0, broken), size, broken, ""},
		"in the middle":      {after(bufferSize+1, broken), size, broken, ""},
		"instead of its end": {after(size, broken), size, broken, ""},
		"unknown size":       {after(3, broken), -1, broken, ""},
		"a connection's end": {after(3, fmt.Errorf("get: %w", io.EOF)), -1, io.EOF, "get: EOF"},
		"too short":          {after(size-1, io.EOF), size, nil, fmt.Sprintf("has %d bytes, want %d", size-1, size)},
		"too long":           {after(size, io.EOF), size - 1, nil, fmt.Sprintf("has %d bytes, want %d", size, size-1)},
	} {
		for _, there := range []bool{false, true} {
			t.Run(fmt.Sprint(name, there), func(t *testing.T) {
				d := newDir(t, Fsync)
				if there {
					require.NoError(t, d.Write(blob, 3, bytes.NewReader(content[:3])))
				}
				err := d.Write(blob, c.size, c.content())
				require.ErrorContains(t, err, c.says)
				if c.is != nil {
					require.ErrorIs(t, err, c.is)
				}
				assertNothingLeft(t, d)
				has, err := d.Has(blob, 3)
				require.NoError(t, err)
				assert.Equal(t, there, has)
			})
		}
	}
}

func TestWriteReplaces(t *testing.T) {
	d := newDir(t, nil)
	blob := digest.FromString("blob")
	require.NoError(t, d.Write(blob, 2, bytes.NewReader([]byte("bl"))))
	old, err := os.Open(d.Path(blob))
	require.NoError(t, err)
	defer old.Close()
	require.NoError(t, d.Write(blob, 4, bytes.NewReader([]byte("blob"))))
	content, err := os.ReadFile(d.Path(blob))
	require.NoError(t, err)
	assert.Equal(t, "blob", string(content))
	read, err := io.ReadAll(old)
	require.NoError(t, err)
	assert.Equal(t, "bl", string(read), "who has opened the old one reads the old one")
}

func TestWriteFileKeepsPermissions(t *testing.T) {
	d := newDir(t, nil)
	path := filepath.Join(filepath.Dir(d.Temp), "file")
	for i, mode := range []os.FileMode{0o644, 0o640} {
		require.NoError(t, d.WriteFile(path, []byte{byte(i)}))
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, []byte{byte(i)}, content)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm())
		require.NoError(t, os.Chmod(path, 0o640))
	}
	assertNothingLeft(t, d)
}

func TestFilesAreSyncedBeforeTheyHaveTheirNames(t *testing.T) {
	content := contentOf(bufferSize + 1)
	blob := digest.FromBytes(content)
	var d *Dir
	synced := 0
	d = newDir(t, func(f *os.File) error {
		synced++
		info, err := f.Stat()
		require.NoError(t, err)
		assert.Equal(t, int64(len(content)), info.Size())
		assert.NoFileExists(t, d.Path(blob))
		return nil
	})
	require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)))
	assert.Equal(t, 1, synced)
	assert.FileExists(t, d.Path(blob))
}

// TestLargeFilesAreBegunWith writes a file of two parts and a rest, which Sync takes alone.
func TestLargeFilesAreBegunWith(t *testing.T) {
	content := contentOf(2*part + 3*bufferSize)
	blob := digest.FromBytes(content)
	var events []string
	d := newDir(t, func(*os.File) error {
		events = append(events, "sync")
		return nil
	})
	d.Begin = func(f *os.File, offset, size int64) {
		info, err := f.Stat()
		require.NoError(t, err)
		assert.Equal(t, offset+size, info.Size(), "all of that is written, and no more is")
		events = append(events, fmt.Sprint("begin ", offset, "+", size))
	}
	require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)))
	assert.Equal(t, []string{fmt.Sprint("begin 0+", part), fmt.Sprint("begin ", part, "+", part), "sync"}, events)
	stored, err := os.ReadFile(d.Path(blob))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, stored))
}

// TestBeginSync writes through the real one, which may have nothing to say.
func TestBeginSync(t *testing.T) {
	content := contentOf(part + 1)
	blob, d := digest.FromBytes(content), newDir(t, Fsync)
	d.Begin = BeginSync
	require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)))
	stored, err := os.ReadFile(d.Path(blob))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, stored))

	f, err := os.Open(d.Path(blob))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	BeginSync(f, 0, 1)
	r, w, err := os.Pipe() // which cannot be synced
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	BeginSync(w, 0, 1)
}

func TestSyncNames(t *testing.T) {
	var synced []string
	d := newDir(t, func(f *os.File) error {
		synced = append(synced, f.Name())
		return nil
	})
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		require.NoError(t, d.Write(algorithm.FromString("x"), 1, bytes.NewReader([]byte("x"))))
	}
	require.NoError(t, os.Mkdir(filepath.Join(d.Blobs, "lost+found"), 0o000))
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.Rename(filepath.Join(d.Blobs, "sha512"), elsewhere))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(d.Blobs, "sha512")))
	synced = nil
	require.NoError(t, d.SyncNames())
	assert.Equal(t, []string{filepath.Join(d.Blobs, "sha256"), filepath.Join(d.Blobs, "sha512"), d.Blobs}, synced)

	broken := errors.New("broken")
	for failing := range 3 {
		n := -1
		d.Sync = func(*os.File) error {
			if n++; n == failing {
				return broken
			}
			return nil
		}
		assert.ErrorIs(t, d.SyncNames(), broken, failing)
	}
	d.Sync = nil
	require.NoError(t, os.RemoveAll(d.Blobs))
	require.NoError(t, d.SyncNames(), "nothing is looked at")
	require.NoError(t, d.SyncDirectory(d.Blobs))
}

func TestSyncThatFails(t *testing.T) {
	broken := errors.New("broken")
	d := newDir(t, func(*os.File) error { return broken })
	blob := digest.FromString("x")
	require.ErrorIs(t, d.Write(blob, 1, bytes.NewReader([]byte("x"))), broken)
	has, err := d.Has(blob, -1)
	require.NoError(t, err)
	assert.False(t, has)
	assertNothingLeft(t, d)
}

func TestFsync(t *testing.T) {
	r, w, err := os.Pipe() // which cannot be synced, as some file systems cannot
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, Fsync(w))
	require.NoError(t, w.Close())
	assert.ErrorIs(t, Fsync(w), os.ErrClosed)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, Fsync(f))
}
