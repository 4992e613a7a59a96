package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// far calls f with the round-trip time of a registry that is not near, and with longer ones where
// the machine is so busy that nobody looks in time whether there is an answer.
func far(t *testing.T, f func(rtt time.Duration) error) {
	t.Helper()
	require.NoError(t, clocktest.Longer(func(limit time.Duration) error { return f(limit / 20) }))
}

// TestOpenAhead asks for as many manifests at once as there are connections opened ahead: none is
// dialled for them.
func TestOpenAhead(t *testing.T) {
	for name, overTLS := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			far(t, func(rtt time.Duration) error {
				r := registrytest.Start(t, registrytest.Options{RTT: rtt, TLS: overTLS})
				im := newImage(t, 2, 100, r, "app")
				sys := insecure(t)
				s, d := openSource(t, r.Host()+"/app:tag", sys, nil), openDestination(t, r.Host()+"/new:tag", sys, nil)
				assert.Zero(t, d.repo.host.transport.Dialled(), "it has sent nothing")
				_, err := d.Top(t.Context())
				require.Error(t, err)
				for _, repo := range []*repository{s.endpoints[0].repo, d.repo} {
					first := repo.host.transport.Dialled()
					var wg sync.WaitGroup
					for range openAhead {
						wg.Go(func() {
							_, err := repo.manifest(t.Context(), im.manifest.Digest.String())
							assert.True(t, err == nil || says404(err), "%v", err)
						})
					}
					wg.Wait()
					// TLS or plain HTTP was tried in vain over one.
					if all := repo.host.transport.Dialled(); first != openAhead+1 || all != first {
						return fmt.Errorf("%d connections, and then %d", first, all)
					}
				}
				return nil
			})
		})
	}
}

func TestExpect(t *testing.T) {
	far(t, func(rtt time.Duration) error {
		r := registrytest.Start(t, registrytest.Options{RTT: rtt})
		newImage(t, 2, 100, r, "app")
		s := openSource(t, r.Host()+"/app:tag", insecure(t), nil)
		s.Expect(openAhead - 2)
		h := s.endpoints[0].repo.host
		if n := h.transport.Dialled(); n != openAhead+1 {
			return fmt.Errorf("%d connections, although more are opened than are expected", n)
		}
		s.Expect(20)
		assert.Equal(t, 20, h.transport.Dialled())
		require.Eventually(t, func() bool { return r.Connections() == 20 }, time.Minute, time.Millisecond)
		busy := ocihttp.RoundTripFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusTooManyRequests, Body: http.NoBody}, nil
		})
		resp, err := ocihttp.Stack(busy, h.limit.Limit).RoundTrip(&http.Request{}) // which makes the bound 1
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		s.Expect(30)
		assert.Equal(t, 20, h.transport.Dialled(), "a host that is busy gets no more connections")

		d := openDestination(t, r.Host()+"/new:tag", insecure(t), &Shared{MaxRequests: 3})
		_, err = d.Top(t.Context())
		require.Error(t, err)
		d.Expect(20)
		assert.LessOrEqual(t, d.repo.host.transport.Dialled(), 3+1)
		return nil
	})
}

// TestNearHosts opens connections when they are needed: none is without use.
func TestNearHosts(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{TLS: true})
	d := openDestination(t, r.Host()+"/new:tag", insecure(t), nil)
	h := d.repo.host
	h.ahead.Near = time.Hour // however busy the machine is
	for range 2 {
		_, err := d.Top(t.Context())
		require.ErrorIs(t, err, endpoint.ErrNotFound)
		d.Expect(20)
	}
	used := map[string]bool{}
	for _, q := range r.Requests() {
		used[q.Remote] = true
	}
	assert.LessOrEqual(t, h.transport.Dialled(), len(used)+1, "those that were used, and one on which plain HTTP was tried")
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
			h := d.repo.host
			h.transport.OpenAhead(h.Name, h.Scheme(), 20)
			assert.Zero(t, h.transport.Dialled())
		})
	}
	assert.Zero(t, r.Connections())
}
