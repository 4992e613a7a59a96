package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// dialled is how many connections to h were dialled so far.
func dialled(h *host) int {
	h.ahead.mu.Lock()
	defer h.ahead.mu.Unlock()
	return h.ahead.opened
}

// TestOpenAhead asks for as many manifests at once as there are connections opened ahead: none is dialled for them.
func TestOpenAhead(t *testing.T) {
	for name, o := range map[string]registrytest.Options{"plain": {}, "TLS": {TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, o)
			im := newImage(t, 2, 100, r, "app")
			sys := insecure(t)
			s, d := openSource(t, r.Host()+"/app:tag", sys, nil), openDestination(t, r.Host()+"/new:tag", sys, nil)
			assert.Zero(t, dialled(d.repo.host), "it has sent nothing")
			_, err := d.Top(t.Context())
			require.Error(t, err)
			for _, repo := range []*repository{s.endpoints[0].repo, d.repo} {
				assert.Equal(t, openAhead+1, dialled(repo.host), "TLS or plain HTTP was tried in vain over one")
				var wg sync.WaitGroup
				for range openAhead {
					wg.Go(func() {
						_, err := repo.manifest(t.Context(), im.manifest.Digest.String())
						assert.True(t, err == nil || says404(err), "%v", err)
					})
				}
				wg.Wait()
				assert.Equal(t, openAhead+1, dialled(repo.host))
			}
		})
	}
}

func TestExpect(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	newImage(t, 2, 100, r, "app")
	s := openSource(t, r.Host()+"/app:tag", insecure(t), nil)
	s.Expect(openAhead - 2)
	h := s.endpoints[0].repo.host
	assert.Equal(t, openAhead+1, dialled(h), "there are more than that")
	s.Expect(20)
	assert.Equal(t, 20, dialled(h))
	require.Eventually(t, func() bool { return r.Connections() == 20 }, 10*time.Second, time.Millisecond)
	h.limit.busy(0) // which makes the bound 1
	s.Expect(30)
	assert.Equal(t, 20, dialled(h), "a host that is busy gets no more connections")

	d := openDestination(t, r.Host()+"/new:tag", insecure(t), &Shared{MaxRequests: 3})
	_, err := d.Top(t.Context())
	require.Error(t, err)
	d.Expect(20)
	assert.LessOrEqual(t, dialled(d.repo.host), 3+1)
}

// TestOpenAheadBehindProxy opens nothing that would go around the proxy.
func TestOpenAheadBehindProxy(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	proxy := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	for name, change := range map[string]func(*types.SystemContext){
		"URL": func(sys *types.SystemContext) { sys.DockerProxyURL = proxy },
		"function": func(sys *types.SystemContext) {
			sys.DockerProxy = func(*url.URL) (*url.URL, error) { return proxy, nil }
		},
		"error": func(sys *types.SystemContext) {
			sys.DockerProxy = func(*url.URL) (*url.URL, error) { return nil, errors.New("no") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			sys := insecure(t)
			change(sys)
			d := openDestination(t, r.Host()+"/new:tag", sys, nil)
			d.Expect(20)
			assert.Zero(t, dialled(d.repo.host))
		})
	}
	assert.Zero(t, r.Connections())
}

func TestAddressAhead(t *testing.T) {
	for _, c := range []struct{ registry, scheme, want string }{
		{"example.com", "https", "example.com:443"},
		{"example.com", "http", "example.com:80"},
		{"example.com", "", ""}, // the port depends on what is spoken
		{"example.com:5000", "", "example.com:5000"},
		{"[::1]:5000", "", "[::1]:5000"},
	} {
		h := &host{registry: c.registry, client: &http.Client{Transport: &http.Transport{}}}
		got, ok := h.direct(c.scheme)
		assert.Equal(t, c.want, got)
		assert.Equal(t, c.want != "", ok)
	}
}

// fakeDialer hands out one end of pipes, and counts what was closed.
type fakeDialer struct {
	mu     sync.Mutex
	conns  int
	closed int
	gate   chan struct{} // dialling takes until it is closed
	err    error
}

type fakeConn struct {
	net.Conn
	d *fakeDialer
}

func (c *fakeConn) Close() error {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.closed++
	return nil
}

func (d *fakeDialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-d.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns++
	return &fakeConn{d: d}, d.err
}

func (d *fakeDialer) count() (conns, closed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns, d.closed
}

// newFake returns a dialer whose connections are open at once.
func newFake() *fakeDialer {
	f := &fakeDialer{gate: make(chan struct{})}
	close(f.gate)
	return f
}

func TestAheadDialer(t *testing.T) {
	t.Run("what nobody uses is closed", func(t *testing.T) {
		f := newFake()
		d := newAheadDialer(f.dial)
		d.open("h:1", 3)
		used, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
		require.NotNil(t, used)
		_, err = d.DialContext(t.Context(), "tcp", "other:1") // a redirect, or a token server
		require.NoError(t, err)
		require.Eventually(t, func() bool { conns, _ := f.count(); return conns == 4 }, 10*time.Second, time.Millisecond)
		d.stop()
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 2 }, 10*time.Second, time.Millisecond)
		d.open("h:1", 100)
		assert.Empty(t, d.ahead, "it has stopped")
	})
	t.Run("or too old", func(t *testing.T) {
		f := newFake()
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		d.ahead[0].expiry.Reset(0)
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 1 }, 10*time.Second, time.Millisecond)
		_, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
		conns, _ := f.count()
		assert.Equal(t, 2, conns)
	})
	t.Run("who waits may leave", func(t *testing.T) {
		f := &fakeDialer{gate: make(chan struct{})}
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := d.DialContext(ctx, "tcp", "h:1")
		require.ErrorIs(t, err, context.Canceled)
		close(f.gate)
		require.Eventually(t, func() bool { _, closed := f.count(); return closed == 1 }, 10*time.Second, time.Millisecond)
	})
	t.Run("a failure is not the last word", func(t *testing.T) {
		f := newFake()
		f.err = errors.New("unreachable")
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		<-d.ahead[0].dialled
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		_, err := d.DialContext(t.Context(), "tcp", "h:1")
		require.NoError(t, err)
	})
	t.Run("stop ends dialling", func(t *testing.T) {
		f := &fakeDialer{gate: make(chan struct{})}
		d := newAheadDialer(f.dial)
		d.open("h:1", 1)
		c := d.ahead[0]
		d.stop()
		<-c.dialled
		require.Error(t, c.err)
	})
}
