package filecopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// contentOf is n bytes that do not repeat soon.
func contentOf(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i * i >> 5)
	}
	return content
}

// filesIn makes a file with that content, and an empty one, in directories.
func filesIn(t *testing.T, fromDir, toDir string, content []byte) (from, to *os.File) {
	path := filepath.Join(fromDir, "from")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	from, err := os.Open(path)
	require.NoError(t, err)
	to, err = os.CreateTemp(toDir, "to-*")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, errors.Join(from.Close(), to.Close())) })
	return from, to
}

// copied copies a part in one of the ways: read, which returns what was read, or all.
func copied(ctx context.Context, to *os.File, from Part, ways func(*Copy), all bool) (told int, read []byte, err error) {
	c := New(ctx, to, from, func(done int64) { told = int(done) })
	ways(c)
	if all {
		err = c.All()
		return told, nil, err
	}
	read, err = io.ReadAll(c)
	return told, read, err
}

// ways are how a Copy may have to do its work, whatever this system can.
var ways = map[string]func(*Copy){
	"as it can": func(*Copy) {},
	"by hand":   func(c *Copy) { c.shared, c.byHand = false, true },
}

func TestCopy(t *testing.T) {
	content := contentOf(2*bufferSize + 4097)
	size := int64(len(content))
	for name, way := range ways {
		for _, part := range []struct{ offset, size int64 }{{0, size}, {0, 0}, {0, 1}, {512, size - 512}, {1, bufferSize}, {4096, 3}, {size, 0}} {
			for _, all := range []bool{false, true} {
				t.Run(fmt.Sprint(name, part, all), func(t *testing.T) {
					from, to := filesIn(t, t.TempDir(), t.TempDir(), content)
					want := content[part.offset : part.offset+part.size]
					told, read, err := copied(t.Context(), to, Part{from, part.offset, part.size}, way, all)
					require.NoError(t, err)
					assert.Len(t, want, told)
					stored, err := os.ReadFile(to.Name())
					require.NoError(t, err)
					assert.True(t, bytes.Equal(want, stored))
					assert.True(t, all || bytes.Equal(want, read))
				})
			}
		}
	}
}

// TestWhatIsReadIsWhatLanded changes the old file between two reads: what was read of it before is
// what the new file has.
func TestWhatIsReadIsWhatLanded(t *testing.T) {
	for name, way := range ways {
		dir := t.TempDir()
		from, to := filesIn(t, dir, t.TempDir(), contentOf(3*bufferSize))
		c := New(t.Context(), to, Part{from, 0, 3 * bufferSize}, func(int64) {})
		way(c)
		var read bytes.Buffer
		buffer := make([]byte, bufferSize)
		for i := range 3 {
			n, err := c.Read(buffer)
			require.NoError(t, err)
			read.Write(buffer[:n])
			require.NoError(t, os.WriteFile(filepath.Join(dir, "from"), bytes.Repeat([]byte{byte(i)}, 3*bufferSize), 0o600))
		}
		stored, err := os.ReadFile(to.Name())
		require.NoError(t, err)
		assert.True(t, bytes.Equal(read.Bytes(), stored), name)
	}
}

func TestWhatEndsTooSoon(t *testing.T) {
	content := contentOf(bufferSize + 5)
	for name, way := range ways {
		for _, all := range []bool{false, true} {
			from, to := filesIn(t, t.TempDir(), t.TempDir(), content)
			told, _, err := copied(t.Context(), to, Part{from, 5, int64(len(content))}, way, all)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, name)
			assert.Equal(t, bufferSize, told, name)
		}
	}
}

func TestCopyEndsWithItsContext(t *testing.T) {
	for name, way := range ways {
		for _, all := range []bool{false, true} {
			from, to := filesIn(t, t.TempDir(), t.TempDir(), contentOf(10))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, _, err := copied(ctx, to, Part{from, 0, 10}, way, all)
			require.ErrorIs(t, err, context.Canceled, name)
		}
	}
}

// TestWhichFileFails: only what is wrong with the new file is a WriteError.
func TestWhichFileFails(t *testing.T) {
	for name, way := range ways {
		for _, all := range []bool{false, true} {
			from, to := filesIn(t, t.TempDir(), t.TempDir(), contentOf(10))
			closed, err := os.Open(from.Name())
			require.NoError(t, err)
			require.NoError(t, closed.Close())
			readOnly, err := os.Open(to.Name())
			require.NoError(t, err)
			_, _, err = copied(t.Context(), readOnly, Part{from, 0, 10}, way, all)
			require.ErrorAs(t, err, new(*WriteError), name)
			require.ErrorContains(t, err, to.Name())
			require.NoError(t, readOnly.Close())
			_, _, err = copied(t.Context(), to, Part{closed, 0, 10}, way, all)
			require.ErrorIs(t, err, os.ErrClosed, name)
			require.NotErrorAs(t, err, new(*WriteError), name)
		}
	}
}

func TestDrain(t *testing.T) {
	r := bytes.NewReader(contentOf(bufferSize + 1))
	require.NoError(t, Drain(r))
	assert.Zero(t, r.Len())
	broken := fmt.Errorf("get: %w", io.EOF)
	require.ErrorIs(t, Drain(io.MultiReader(bytes.NewReader(contentOf(3)), failing{broken})), broken)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
