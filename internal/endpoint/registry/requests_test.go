package registry

import (
	"math"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestRequestURLs asks below the repository, or where the registry has said.
func TestRequestURLs(t *testing.T) {
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		require.NoError(t, err)
		return u
	}
	for name, c := range map[string]struct {
		rq        request
		namespace string
		want      string
	}{
		"a path":                   {request{path: "manifests/tag"}, "", "//registry.example:5000/v2/a/b/manifests/tag"},
		"with a query":             {request{path: "tags/list", query: "n=5"}, "", "//registry.example:5000/v2/a/b/tags/list?n=5"},
		"of a mirror":              {request{path: "tags/list"}, "x.y:1", "//registry.example:5000/v2/a/b/tags/list?ns=x.y%3A1"},
		"of a mirror with a query": {request{path: "tags/list", query: "n=5"}, "x.y", "//registry.example:5000/v2/a/b/tags/list?ns=x.y&n=5"},
		"a location":               {request{location: parse("http://other/u%2Fp?a=b")}, "", "http://other/u%2Fp?a=b"},
		"a location with a query":  {request{location: parse("http://other/up?a=b"), query: "digest=d"}, "x.y", "http://other/up?a=b&digest=d"},
		"without its credentials":  {request{location: parse("http://me:pw@other:/up")}, "", "http://other/up"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &repository{host: &host{Host: ocihttp.NewHost("registry.example:5000", false)}, name: "a/b", namespace: c.namespace}
			req, err := r.newRequest(t.Context(), &c.rq)
			require.NoError(t, err)
			assert.Equal(t, c.want, req.URL.String())
			assert.Equal(t, req.URL.Host, req.Host)
		})
	}
	r := &repository{host: &host{Host: ocihttp.NewHost("registry.example:5000", false)}, name: "a/b"}
	_, err := r.newRequest(t.Context(), &request{method: http.MethodPut, location: &url.URL{Scheme: "http", Host: "a b", Path: "/"}})
	assert.ErrorContains(t, err, "not a usable URL")
}

// TestRequestsAreCheap counts what one request takes beside what net/http does: copies of many
// small images are made of little else.
func TestRequestsAreCheap(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{})
	im := newImage(t, 1, 100, r, "app")
	s := openSource(t, r.Host()+"/app:tag", insecure(t), nil)
	repo := s.endpoints[0].repo
	answer := ocihttp.RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
	})
	repo.host.asks = ocihttp.Stack(answer, ocihttp.Describe(repo.host.Answered), ocihttp.Content,
		ocihttp.Stall(s.shared.timeouts()), ocihttp.Redirects)
	repo.stack()
	rq := &request{method: http.MethodHead, path: "manifests/" + im.manifest.Digest.String(), header: http.Header{"Accept": acceptManifests}}
	least := math.Inf(1) // as whatever else the process does is counted, too
	for range 10 {
		least = min(least, testing.AllocsPerRun(100, func() {
			resp, err := repo.send(t.Context(), rq)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		}))
	}
	assert.LessOrEqual(t, least, 36.0)
}
