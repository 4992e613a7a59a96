package endpoint

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/filecopy"
)

// filed is content in a file.
type filed struct {
	io.ReadCloser
	file    *os.File
	trusted bool
}

func (f filed) File() (File, bool) {
	info, err := f.file.Stat()
	return File{filecopy.Part{File: f.file, Size: info.Size()}, f.trusted}, err == nil
}

var errSource = errors.New("the source is wrong")

// fileReader returns a reader, as that of an Opener, of a file with that content as the blob b, and
// how many bytes it has told of.
func fileReader(t *testing.T, content []byte, b Blob, trusted bool) (r io.ReadCloser, told *int) {
	path := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	told = new(int)
	r = Verified(filed{f, f, trusted}, b, func(n int) { *told += n }, func(err error) error { return errors.Join(errSource, err) })
	t.Cleanup(func() {
		require.NoError(t, r.Close())
		require.ErrorIs(t, f.Close(), os.ErrClosed, "the reader closes it")
	})
	return r, told
}

func emptyFile(t *testing.T) *os.File {
	f, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestCopyToAFile(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	blob := Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	unknown := Blob{Digest: blob.Digest, Size: -1}
	wrong := append(bytes.Clone(content[:len(content)-1]), 'x')
	for name, c := range map[string]struct {
		content []byte
		blob    Blob
		trusted bool
		fails   bool
	}{
		"the blob":                     {content, blob, false, false},
		"the blob, trusted":            {content, blob, true, false},
		"of unknown size":              {content, unknown, false, false},
		"of unknown size, trusted":     {content, unknown, true, false},
		"another":                      {wrong, blob, false, true},
		"another, trusted":             {wrong, blob, true, false}, // which is what trust costs
		"another of any size, trusted": {wrong, unknown, true, true},
		"a longer one of any size":     {append(bytes.Clone(content), 'x'), unknown, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, told := fileReader(t, c.content, c.blob, c.trusted)
			file := FileOf(r)
			require.NotNil(t, file)
			to := emptyFile(t)
			var written int64
			if err := file.CopyTo(t.Context(), to, func(n int64) { written = n }); c.fails {
				require.ErrorIs(t, err, errSource)
				require.ErrorContains(t, err, "does not match the digest")
			} else {
				require.NoError(t, err)
				stored, err := os.ReadFile(to.Name())
				require.NoError(t, err)
				assert.True(t, bytes.Equal(c.content, stored))
			}
			assert.Equal(t, len(c.content), *told)
			assert.EqualValues(t, len(c.content), written)

			r, told = fileReader(t, c.content, c.blob, c.trusted)
			if err := FileOf(r).Verify(); c.fails {
				require.ErrorIs(t, err, errSource)
			} else {
				require.NoError(t, err)
			}
			assert.Equal(t, len(c.content), *told)
		})
	}
}

// TestNoFile: who asks for a file there reads instead, and reading says what is wrong.
func TestNoFile(t *testing.T) {
	content := []byte("content")
	blob := Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	assert.Nil(t, FileOf(bytes.NewReader(content)))
	assert.Nil(t, FileOf(Verified(io.NopCloser(bytes.NewReader(content)), blob, nil, nil)))
	for _, size := range []int64{blob.Size - 1, blob.Size + 1} {
		r, _ := fileReader(t, content, Blob{blob.Digest, size, "", false}, true)
		assert.Nil(t, FileOf(r), size)
	}
	r, _ := fileReader(t, content, blob, true)
	_, err := r.Read(make([]byte, 1))
	require.NoError(t, err)
	assert.Nil(t, FileOf(r), "something was read")
}

// TestWhoseFileFails: what is wrong with the destination's file is no error of the source.
func TestWhoseFileFails(t *testing.T) {
	content := []byte("content")
	blob := Blob{Digest: digest.FromBytes(content), Size: int64(len(content))}
	for _, trusted := range []bool{false, true} {
		r, _ := fileReader(t, content, blob, trusted)
		readOnly, err := os.Open(emptyFile(t).Name())
		require.NoError(t, err)
		err = FileOf(r).CopyTo(t.Context(), readOnly, func(int64) {})
		require.ErrorContains(t, err, readOnly.Name())
		require.NotErrorIs(t, err, errSource)
		require.NoError(t, readOnly.Close())

		r, _ = fileReader(t, content, blob, trusted)
		file := FileOf(r)
		require.NoError(t, os.Truncate(file.Whole().Name(), 3))
		err = file.CopyTo(t.Context(), emptyFile(t), func(int64) {})
		require.ErrorIs(t, err, errSource)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Nil(t, file.Whole(), "it has become another")
	}
}
