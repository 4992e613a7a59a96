//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
)

// TestSignalWhileWaiting interrupts a copy that waits for a file, which nothing can end.
func TestSignalWhileWaiting(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "policy.json")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	cmd, stderr := program(t, "copy", "--all", "--policy", fifo, "docker://127.0.0.1:1/a:1", "docker://127.0.0.1:1/b:1")
	require.NoError(t, cmd.Start())
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0) // when the program has opened it for reading
	require.NoError(t, err)
	defer writer.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, mirrorcmd.StatusFailed, exit.ExitCode())
	assert.Equal(t, "mirror: stopped: terminated signal received; something did not stop by itself\n", stderr.String())
}
