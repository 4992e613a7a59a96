//go:build unix

package mirrorserver

import (
	"log/slog"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPipes: nobody waits for what might be written to a pipe in the place of a file.
func TestPipes(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	w := NewWatch(pipe)
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	assert.True(t, w.Changed())
	assert.False(t, w.Changed())
	_, err := Start(ServerOptions{TokenFile: pipe, Log: slog.New(slog.DiscardHandler)})
	require.ErrorContains(t, err, "no regular file")
}
