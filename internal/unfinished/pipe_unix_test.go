//go:build unix

package unfinished

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestNoPipeIsWaitedFor: one in the place of the file is of no use, and removed.
func TestNoPipeIsWaitedFor(t *testing.T) {
	d, path := saved(t, time.Now)
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	requireNothing(t, d)
}
