package filecopy

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheSystemCopies: file systems of tests copy within themselves, even if they share nothing.
func TestTheSystemCopies(t *testing.T) {
	dir := t.TempDir()
	from, to := filesIn(t, dir, dir, contentOf(3*bufferSize))
	c := New(t.Context(), to, Part{from, 0, 3 * bufferSize}, func(int64) {})
	require.NoError(t, c.All())
	assert.False(t, c.byHand)
}

// TestWhatCannotBeReadAgain: that is the new file's fault, too.
func TestWhatCannotBeReadAgain(t *testing.T) {
	dir := t.TempDir()
	from, to := filesIn(t, dir, dir, contentOf(10))
	writeOnly, err := os.OpenFile(to.Name(), os.O_WRONLY, 0)
	require.NoError(t, err)
	defer writeOnly.Close()
	_, _, err = copied(t.Context(), writeOnly, Part{from, 0, 10}, ways["as it can"], false)
	require.ErrorAs(t, err, new(*WriteError))
	require.ErrorContains(t, err, to.Name())
}

// TestNoRoom lets the system refuse to make files longer, as it does when the disk is full.
func TestNoRoom(t *testing.T) {
	content := contentOf(3 * bufferSize)
	for name, way := range ways {
		for _, all := range []bool{false, true} {
			from, to := filesIn(t, t.TempDir(), t.TempDir(), content)
			var limit syscall.Rlimit
			require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
			signal.Ignore(syscall.SIGXFSZ)
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bufferSize + 5, Max: limit.Max}))
			_, _, err := copied(t.Context(), to, Part{from, 0, int64(len(content))}, way, all)
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
			signal.Reset(syscall.SIGXFSZ)
			require.ErrorIs(t, err, syscall.EFBIG, name)
			require.ErrorAs(t, err, new(*WriteError), name)
			require.ErrorContains(t, err, to.Name())
		}
	}
}
