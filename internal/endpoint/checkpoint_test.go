package endpoint

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// skipping is a source that can begin at an offset.
type skipping struct{ *bytes.Reader }

func (s skipping) Close() error { return nil }

func (s skipping) SkipTo(offset int64) error {
	_, err := s.Seek(offset, io.SeekStart)
	return err
}

// A reader goes on where another one has stopped, and judges the whole blob, whether or not its
// source can skip what comes before.
func TestVerifiedFromCheckpoint(t *testing.T) {
	errWrong := errors.New("wrong")
	content := bytes.Repeat([]byte("0123456789"), 100)
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		b := Blob{Digest: algorithm.FromBytes(content), Size: int64(len(content))}
		told := 0
		open := func(content []byte, skips bool) Resumable {
			told = 0
			source := io.NopCloser(bytes.NewReader(content))
			if skips {
				source = skipping{bytes.NewReader(content)}
			}
			return Verified(source, b, func(n int) { told += n }, func(error) error { return errWrong }).(Resumable)
		}
		first := open(content, true)
		_, err := io.CopyN(io.Discard, first, 333)
		require.NoError(t, err)
		at, err := first.Checkpoint()
		require.NoError(t, err)
		assert.EqualValues(t, 333, at.Offset)
		other := bytes.Repeat([]byte("9876543210"), 100)
		for _, skips := range []bool{true, false} {
			r := open(content, skips)
			require.NoError(t, r.SkipTo(at))
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.Equal(t, content[333:], rest)
			assert.Equal(t, len(content), told)

			r = open(other, skips)
			require.NoError(t, r.SkipTo(at))
			_, err = io.ReadAll(r)
			require.ErrorIs(t, err, errWrong)
		}
		r := open(content, true)
		require.ErrorIs(t, r.SkipTo(Checkpoint{333, []byte("no state")}), errWrong)
		_, err = r.Read(make([]byte, 1))
		require.ErrorIs(t, err, errWrong)
	}
}
