package registrytest

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// client is a client of one registry.
type client struct {
	t *testing.T
	*Registry
	http *http.Client
}

// start starts a registry and a client that trusts it and follows no redirects.
func start(t *testing.T, o Options) *client {
	t.Helper()
	r := Start(t, o)
	tr := &http.Transport{TLSClientConfig: r.ClientTLS(), ForceAttemptHTTP2: o.HTTP2, DisableCompression: true}
	if !o.HTTP2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t: t, Registry: r, http: &http.Client{
		Transport: tr, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body []byte
	err  error // of reading the body
}

// try sends a request; path is a path or a URL. headers are pairs.
func (c *client) try(method, path string, body io.Reader, headers ...string) (answer, error) {
	c.t.Helper()
	if strings.HasPrefix(path, "/") {
		path = c.URL() + path
	}
	req, err := http.NewRequest(method, path, body)
	require.NoError(c.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp, b, err}, nil
}

// do is try with an answer of the given status, which is complete.
func (c *client) do(status int, method, path string, body string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, strings.NewReader(body), headers...)
	require.NoError(c.t, err)
	require.NoError(c.t, a.err)
	require.Equal(c.t, status, a.StatusCode, "%s %s: %s", method, path, a.body)
	return a
}

// errors returns the errors of the answer.
func (a answer) errors(t *testing.T) []Error {
	t.Helper()
	var doc struct {
		Errors []Error `json:"errors"`
	}
	require.NoError(t, json.Unmarshal(a.body, &doc), "%s", a.body)
	return doc.Errors
}

// codes returns the codes of the errors of the answer.
func (a answer) codes(t *testing.T) []string {
	t.Helper()
	var codes []string
	for _, e := range a.errors(t) {
		codes = append(codes, e.Code)
	}
	return codes
}

// push uploads a blob with POST and PUT.
func (c *client) push(repo, content string) digest.Digest {
	c.t.Helper()
	d := digest.FromString(content)
	loc := c.do(202, "POST", "/v2/"+repo+"/blobs/uploads/", "").Header.Get("Location")
	c.do(201, "PUT", addQuery(loc, "digest", d.String()), content)
	return d
}

// addQuery adds a parameter to the query of a location.
func addQuery(location, key, value string) string {
	u, err := url.Parse(location)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// image returns a manifest with a config and layers.
func image(config digest.Digest, layers ...digest.Digest) string {
	m := imgspecv1.Manifest{MediaType: imgspecv1.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: config}
	for _, l := range layers {
		m.Layers = append(m.Layers, imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageLayer, Digest: l})
	}
	return marshal(m)
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

const imageType = imgspecv1.MediaTypeImageManifest

func TestPushAndPull(t *testing.T) {
	c := start(t, Options{})
	config, layer := c.push("a/b", "{}"), c.push("a/b", "layer")
	m := image(config, layer)
	d := digest.FromString(m)

	a := c.do(201, "PUT", "/v2/a/b/manifests/v1", m, "Content-Type", imageType)
	require.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
	require.Equal(t, c.URL()+"/v2/a/b/manifests/"+d.String(), a.Header.Get("Location"))

	for _, ref := range []string{"v1", d.String()} {
		a = c.do(200, "GET", "/v2/a/b/manifests/"+ref, "")
		require.Equal(t, m, string(a.body))
		require.Equal(t, imageType, a.Header.Get("Content-Type"))
		require.Equal(t, d.String(), a.Header.Get("Docker-Content-Digest"))
		a = c.do(200, "HEAD", "/v2/a/b/manifests/"+ref, "")
		require.EqualValues(t, len(m), a.ContentLength)
		require.Empty(t, a.body)
	}
	require.Equal(t, []string{"v1"}, c.Tags("a/b"))
	require.Equal(t, []digest.Digest{d}, c.Manifests("a/b"))
	got, ok := c.Blob("a/b", layer)
	require.True(t, ok)
	require.True(t, bytes.Equal([]byte("layer"), got))

	h := c.History("a/b")
	require.Equal(t, Event{Seq: 4, Kind: EventTag, Digest: d, Tag: "v1", Changed: true, Request: 5}, h[len(h)-1])
	require.Equal(t, 4, c.Count(Is("", KindUpload)))
}

func unmarshal(t *testing.T, b []byte, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(b, v))
}

// For require.Eventually.
const (
	waitFor = time.Minute
	tick    = 2 * time.Millisecond
)

func newReader(s string) io.Reader { return strings.NewReader(s) }
