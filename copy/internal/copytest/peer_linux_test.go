package copytest_test

import (
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// The port of a Peer is nobody else's while it is closed.
func TestPeerKeepsItsPort(t *testing.T) {
	p := copytest.StartPeer(t, registrytest.Options{}, nil)
	other := registrytest.Start(t, registrytest.Options{})
	port, err := net.ResolveTCPAddr("tcp", p.Addr)
	require.NoError(t, err)
	p.Shut()
	_, err = net.Dial("tcp", p.Addr)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	conn, err := (&net.Dialer{LocalAddr: port}).Dial("tcp", other.Host())
	if err == nil {
		_ = conn.Close()
	}
	require.ErrorIs(t, err, unix.EADDRINUSE)

	require.NoError(t, p.Open())
	assert.Equal(t, port.String(), p.Addr)
	resp, err := http.Get("http://" + p.Addr + "/v2/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}
