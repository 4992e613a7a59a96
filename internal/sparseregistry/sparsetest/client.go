package sparsetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Backend makes the handler of an empty registry that accepts any sparse list. The test's Cleanup
// releases it.
type Backend func(t testing.TB) http.Handler

// Serve puts the policy in front of a registry and serves both on loopback, until the test ends.
func Serve(t testing.TB, registry http.Handler, policy manifest.SparsePolicy) *Client {
	t.Helper()
	return ServePolicies(t, registry, sparseregistry.Policies{Default: policy})
}

// ServePolicies is Serve with a policy for each repository.
func ServePolicies(t testing.TB, registry http.Handler, policies sparseregistry.Policies) *Client {
	t.Helper()
	require.NoError(t, policies.Validate())
	enforced := sparseregistry.Enforce(registry, sparseregistry.Options{Policy: policies.For})
	return ServeHandler(t, sparseregistry.Announce(enforced, func() sparseregistry.Policies { return policies }))
}

// ServeHandler serves a handler on loopback until the test ends.
func ServeHandler(t testing.TB, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return NewClient(server.URL)
}

// A Client speaks to one registry. It follows no redirects. Its methods may run concurrently.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client for the registry whose root is at base.
func NewClient(base string) *Client {
	return NewClientOf(base, &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true})
}

// NewClientOf is NewClient with a transport of the caller's, which no other client has.
func NewClientOf(base string, transport *http.Transport) *Client {
	return &Client{base: base, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Base is where the registry's root is.
func (c *Client) Base() string { return c.base }

// CloseIdle closes the connections that are not in use.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// An Answer is a response that has been read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Errors are the errors of an answer in the form of the OCI distribution specification, nil if it
// has no such form.
func (a Answer) Errors() []ResponseError {
	var body struct {
		Errors []ResponseError `json:"errors"`
	}
	if json.Unmarshal(a.Body, &body) != nil {
		return nil
	}
	return body.Errors
}

// A ResponseError is one error of an answer.
type ResponseError struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail"`
}

// Try sends a request. location may be a path or a whole URL, of which path and query count. header
// may be nil.
func (c *Client) Try(ctx context.Context, method, location string, header http.Header, body []byte) (Answer, error) {
	u, err := url.Parse(location)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+u.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: content}, err
}

// Do is Try for requests that must be answered.
func (c *Client) Do(t testing.TB, method, location string, header http.Header, body []byte) Answer {
	t.Helper()
	answer, err := c.Try(t.Context(), method, location, header, body)
	require.NoError(t, err)
	return answer
}

// ManifestPath is where a registry has a manifest.
func ManifestPath(repo, ref string) string { return "/v2/" + repo + "/manifests/" + ref }

// accept admits all types of manifests.
var accept = http.Header{"Accept": {strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	manifest.MediaTypeDockerList, manifest.MediaTypeDockerManifest,
}, ", ")}}

// Get asks for a manifest.
func (c *Client) Get(t testing.TB, method, repo, ref string) Answer {
	t.Helper()
	return c.Do(t, method, ManifestPath(repo, ref), accept, nil)
}

// Put stores a document of a fixture as repo's ref, without what it names. ref "" stands for its
// digest.
func (c *Client) Put(t testing.TB, f *imagetest.Fixture, repo, ref, name string) Answer {
	t.Helper()
	answer, err := c.TryPut(t.Context(), f, repo, ref, name)
	require.NoError(t, err)
	return answer
}

// TryPut is Put for requests that may not be answered.
func (c *Client) TryPut(ctx context.Context, f *imagetest.Fixture, repo, ref, name string) (Answer, error) {
	body, mediaType := f.Document(name)
	if ref == "" {
		ref = f.Digest(name).String()
	}
	return c.Try(ctx, http.MethodPut, ManifestPath(repo, ref), http.Header{"Content-Type": {mediaType}}, body)
}

// PushImage stores an image of a fixture with everything that it names, by digest.
func (c *Client) PushImage(ctx context.Context, f *imagetest.Fixture, repo, name string) error {
	for _, d := range f.Blobs(name) {
		if err := c.PushBlob(ctx, repo, f.Content(f.Name(d))); err != nil {
			return err
		}
	}
	for _, d := range reversed(f.Manifests(name)) {
		if err := created(c.TryPut(ctx, f, repo, "", f.Name(d))); err != nil {
			return err
		}
	}
	return nil
}

// PushBlob stores a blob, as clients do that do not ask whether it is there.
func (c *Client) PushBlob(ctx context.Context, repo string, content []byte) error {
	answer, err := c.Try(ctx, http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil, nil)
	if err != nil {
		return err
	}
	if answer.Status != http.StatusAccepted {
		return fmt.Errorf("starting an upload: %d %s", answer.Status, answer.Body)
	}
	u, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		return err
	}
	query := u.Query()
	query.Set("digest", digest.FromBytes(content).String())
	u.RawQuery = query.Encode()
	return created(c.Try(ctx, http.MethodPut, u.String(), http.Header{"Content-Type": {"application/octet-stream"}}, content))
}

func created(answer Answer, err error) error {
	if err == nil && answer.Status != http.StatusCreated {
		err = errors.New(http.StatusText(answer.Status) + ": " + string(answer.Body))
	}
	return err
}

func reversed[T any](s []T) []T {
	r := make([]T, 0, len(s))
	for i := len(s) - 1; i >= 0; i-- {
		r = append(r, s[i])
	}
	return r
}
