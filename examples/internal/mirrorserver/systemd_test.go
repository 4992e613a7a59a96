//go:build unix

package mirrorserver

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// supervisor returns a Supervisor and what it is told next.
func supervisor(t *testing.T, environment map[string]string) (Supervisor, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	environment["NOTIFY_SOCKET"] = path
	return NewSupervisor(func(name string) string { return environment[name] }), func() string {
		said := make([]byte, 4096)
		n, err := socket.Read(said)
		require.NoError(t, err)
		return string(said[:n])
	}
}

func TestSupervisor(t *testing.T) {
	s, said := supervisor(t, map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": strconv.Itoa(os.Getpid())})
	assert.Equal(t, 15*time.Second, s.Watchdog())
	s.Ready("3 elements")
	assert.Equal(t, "READY=1\nSTATUS=3 elements", said())
	s.Reloading()
	assert.Regexp(t, `^RELOADING=1(\nMONOTONIC_USEC=[1-9][0-9]*)?$`, said())
	s.Alive()
	assert.Equal(t, "WATCHDOG=1", said())
	s.Stopping(31 * time.Second)
	assert.Equal(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=31000000", said())
}

func TestNoSupervisor(t *testing.T) {
	for _, environment := range []map[string]string{
		{},
		{"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "x"},
		{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
	} {
		s := NewSupervisor(func(name string) string { return environment[name] })
		s.Ready("") // nobody hears it
		assert.Zero(t, s.Watchdog())
	}
}
