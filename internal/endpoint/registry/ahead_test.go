package registry

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// far is the round-trip time of a registry that is not near.
const far = 50 * time.Millisecond

// TestOpenAhead asks for as many manifests at once as there are connections opened ahead: none is
// dialled for them.
func TestOpenAhead(t *testing.T) {
	for name, o := range map[string]registrytest.Options{"plain": {RTT: far}, "TLS": {RTT: far, TLS: true}} {
		t.Run(name, func(t *testing.T) {
			r := registrytest.Start(t, o)
			im := newImage(t, 2, 100, r, "app")
			sys := insecure(t)
			s, d := openSource(t, r.Host()+"/app:tag", sys, nil), openDestination(t, r.Host()+"/new:tag", sys, nil)
			assert.Zero(t, d.repo.host.transport.Dialled(), "it has sent nothing")
			_, err := d.Top(t.Context())
			require.Error(t, err)
			for _, repo := range []*repository{s.endpoints[0].repo, d.repo} {
				assert.Equal(t, openAhead+1, repo.host.transport.Dialled(), "TLS or plain HTTP was tried in vain over one")
				var wg sync.WaitGroup
				for range openAhead {
					wg.Go(func() {
						_, err := repo.manifest(t.Context(), im.manifest.Digest.String())
						assert.True(t, err == nil || says404(err), "%v", err)
					})
				}
				wg.Wait()
				assert.Equal(t, openAhead+1, repo.host.transport.Dialled())
			}
		})
	}
}

func TestExpect(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{RTT: far})
	newImage(t, 2, 100, r, "app")
	s := openSource(t, r.Host()+"/app:tag", insecure(t), nil)
	s.Expect(openAhead - 2)
	h := s.endpoints[0].repo.host
	assert.Equal(t, openAhead+1, h.transport.Dialled(), "there are more than that")
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
	assert.Equal(t, 1+1, h.transport.Dialled(), "one for what was sent, and one on which plain HTTP was tried")
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
