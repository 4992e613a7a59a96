package sparseserver

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A proxy speaks TLS to clients, under another name and port than the server behind it.
type proxy struct {
	server    *httptest.Server
	host      string // what clients call it
	transport http.RoundTripper

	mu   sync.Mutex
	seen []string // headers Location and Link of what passed; guarded by mu
}

// startProxy starts a proxy that has no server behind it yet.
func startProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{server: httptest.NewUnstartedServer(nil)}
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	p.host = "localhost:" + p.server.URL[strings.LastIndexByte(p.server.URL, ':')+1:]
	p.transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its certificate is for example.com
	t.Cleanup(p.transport.(*http.Transport).CloseIdleConnections)
	return p
}

// passOnTo puts the server behind the proxy. forward says in a request what the client asked for.
func (p *proxy) passOnTo(t *testing.T, server *Server, forward func(*http.Request)) {
	t.Helper()
	target, err := url.Parse(server.URL())
	require.NoError(t, err)
	p.server.Config.Handler = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target) // the Host header becomes the target's
			forward(r.Out)
		},
		ModifyResponse: func(r *http.Response) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.seen = append(append(p.seen, r.Header.Values("Location")...), r.Header.Values("Link")...)
			return nil
		},
	}
}

// do sends a request through the proxy to where a Location leads.
func (p *proxy) do(t *testing.T, method, location, body string) *http.Response {
	t.Helper()
	base, err := url.Parse("https://" + p.host)
	require.NoError(t, err)
	u, err := base.Parse(location)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, u.String(), strings.NewReader(body))
	require.NoError(t, err)
	response, err := p.transport.RoundTrip(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}

// TestLocationsBehindAProxy pushes through a proxy that clients reach by another scheme, host and
// port.
func TestLocationsBehindAProxy(t *testing.T) {
	silent := func(*http.Request) {}
	for _, c := range []struct {
		name    string
		config  func(external string) Config
		forward func(host string) func(*http.Request)
		base    func(external string) string
	}{
		{
			"external URL", func(external string) Config { return Config{ExternalURL: external} },
			func(string) func(*http.Request) { return silent },
			func(external string) string { return external },
		},
		{
			"external URL over what is forwarded", func(external string) Config { return Config{ExternalURL: external + "/"} },
			func(string) func(*http.Request) {
				return func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "elsewhere.example") }
			},
			func(external string) string { return external },
		},
		{
			"relative URLs", func(string) Config { return Config{RelativeURLs: true} },
			func(string) func(*http.Request) { return silent },
			func(string) string { return "" },
		},
		{
			"X-Forwarded", func(string) Config { return Config{} },
			func(host string) func(*http.Request) {
				return func(r *http.Request) {
					r.Header.Set("X-Forwarded-Proto", "https")
					r.Header.Set("X-Forwarded-Host", host)
				}
			},
			func(external string) string { return external },
		},
		{
			"Forwarded", func(string) Config { return Config{} },
			func(host string) func(*http.Request) {
				return func(r *http.Request) { r.Header.Set("Forwarded", `host="`+host+`";proto=https`) }
			},
			func(external string) string { return external },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProxy(t)
			external := "https://" + p.host
			server, _ := start(t, c.config(external))
			p.passOnTo(t, server, c.forward(p.host))

			// An upload in three requests.
			location := p.do(t, http.MethodPost, "/v2/app/blobs/uploads/", "").Header.Get("Location")
			location = p.do(t, http.MethodPatch, location, "con").Header.Get("Location")
			location = p.do(t, http.MethodPatch, location, "tent").Header.Get("Location")
			d := digest.FromString("content")
			response := p.do(t, http.MethodPut, location+"&digest="+d.String(), "")
			require.Equal(t, http.StatusCreated, response.StatusCode)
			assert.Equal(t, http.StatusOK, p.do(t, http.MethodHead, response.Header.Get("Location"), "").StatusCode)
			// A mount.
			response = p.do(t, http.MethodPost, "/v2/other/blobs/uploads/?from=app&mount="+d.String(), "")
			require.Equal(t, http.StatusCreated, response.StatusCode)

			// An image and two tags, by a client that others use.
			image, err := random.Image(100, 2)
			require.NoError(t, err)
			for _, tag := range []string{"v1", "v2"} {
				ref, err := name.ParseReference(p.host + "/app:" + tag)
				require.NoError(t, err)
				require.NoError(t, remote.Write(ref, image, remote.WithTransport(p.transport), remote.WithContext(t.Context()), remote.WithJobs(1)))
			}
			for _, list := range []string{"/v2/app/tags/list?n=1", "/v2/_catalog?n=1"} {
				link := p.do(t, http.MethodGet, list, "").Header.Get("Link")
				assert.Contains(t, link, "</v2/", "%s is relative", list)
			}
			require.Len(t, p.seen, 5+3*3+2+2) // three requests for each of three blobs, two manifests, two pages
			for _, location := range p.seen {
				if !strings.Contains(location, "rel=") {
					assert.True(t, strings.HasPrefix(location, c.base(external)+"/v2/"), "%s", location)
				}
			}
		})
	}
}

func TestExternalURLIsRefused(t *testing.T) {
	for _, c := range []struct {
		external string
		relative bool
		want     string
	}{
		{"https://registry.example", true, "an external URL and relative URLs exclude each other"},
		{"registry.example", false, `external URL "registry.example": must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else`},
		{"https://registry.example/prefix", false, `external URL "https://registry.example/prefix": must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else`},
		{"https://me@registry.example", false, `external URL "https://me@registry.example": must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else`},
		{"https://registry.example?", false, `external URL "https://registry.example?": must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else`},
		{"https://registry.example:70000", false, `external URL "https://registry.example:70000": must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else`},
		{":", false, `external URL: parse ":": missing protocol scheme`},
	} {
		_, err := Start(Config{Address: "127.0.0.1:0", Storage: t.TempDir(), ExternalURL: c.external, RelativeURLs: c.relative})
		assert.EqualError(t, err, c.want)
	}
}
