//go:build unix

package regular

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOpenWaitsForNobody: nobody ever writes to the pipe.
func TestOpenWaitsForNobody(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink("/dev/zero", link))
	for _, path := range []string{pipe, link} {
		_, _, err := Open(path)
		assert.ErrorContains(t, err, path+" is no regular file")
	}
}
