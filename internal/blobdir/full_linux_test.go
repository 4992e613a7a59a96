package blobdir

import (
	"bytes"
	"os/signal"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNoRoom lets the system refuse to make files longer, as it does when the disk is full.
func TestNoRoom(t *testing.T) {
	content := contentOf(3 * bufferSize)
	blob, d := digest.FromBytes(content), newDir(t, Fsync)
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bufferSize + 5, Max: limit.Max}))
	err := d.Write(blob, int64(len(content)), bytes.NewReader(content))
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))

	require.ErrorIs(t, err, syscall.EFBIG)
	assertNothingLeft(t, d)
	has, err := d.Has(blob, -1)
	require.NoError(t, err)
	assert.False(t, has)
	require.NoError(t, d.Write(blob, int64(len(content)), bytes.NewReader(content)), "with room again")
}
