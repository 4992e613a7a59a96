package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	repo = "library/app"
	tag  = "1"
)

// off and on are the two policies.
var off = manifest.SparsePolicy{}

func on(required ...string) manifest.SparsePolicy {
	return manifest.SparsePolicy{Enabled: true, RequiredArchitectures: required}
}

// Whether a place tells what its policy is.
const (
	announced = false
	hidden    = true
)

// A place is a sparse registry as clients see it: through a proxy, so that its host stays the same
// when its policy changes.
type place struct {
	t       *testing.T
	storage string
	server  *sparseserver.Server
	client  *sparsetest.Client // of the server itself: its requests are not noted
	proxy   *httptest.Server
	target  atomic.Pointer[url.URL] // of the proxy

	mu       sync.Mutex
	requests []string // method and path of what came through the proxy; guarded by mu
}

// newPlace starts an empty registry, which runs until the test ends.
func newPlace(t *testing.T, policy manifest.SparsePolicy, hide bool) *place {
	t.Helper()
	return newPlaceOf(t, sparseregistry.Policies{Default: policy}, hide)
}

// newPlaceOf is newPlace with a policy for each repository.
func newPlaceOf(t *testing.T, policies sparseregistry.Policies, hide bool) *place {
	t.Helper()
	p := &place{t: t, storage: t.TempDir()}
	p.start(policies)
	t.Cleanup(func() { assert.NoError(t, p.server.Close()) })
	t.Cleanup(func() { retire(p.proxy.Listener.Addr().String()) })
	p.proxy = httptest.NewServer(p.forward(hide))
	t.Cleanup(p.proxy.Close)
	return p
}

// retired are the addresses that retire has taken.
var retired struct {
	sync.Mutex
	listeners []net.Listener // guarded by the mutex; never closed, nor left to the garbage collector
}

// retire takes the address of a registry that has been closed, for as long as the tests run:
// another registry there would be held to what the library remembers of the first one, by host.
func retire(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return // somebody else has it, which is as good
	}
	retired.Lock()
	defer retired.Unlock()
	retired.listeners = append(retired.listeners, listener)
}

func (p *place) start(policies sparseregistry.Policies) {
	p.t.Helper()
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: p.storage, Policies: policies})
	require.NoError(p.t, err)
	target, err := url.Parse(server.URL())
	require.NoError(p.t, err)
	p.server, p.client = server, sparsetest.NewClient(server.URL())
	p.target.Store(target)
}

// restart puts a new server with another policy in the place of the running one, over the same
// storage.
func (p *place) restart(policy manifest.SparsePolicy) {
	p.t.Helper()
	require.NoError(p.t, p.server.Shutdown(p.t.Context()))
	p.start(sparseregistry.Policies{Default: policy})
}

// forward is the proxy. With hide, the registry seems to be one that says nothing about sparse
// lists.
func (p *place) forward(hide bool) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(p.target.Load())
			r.Out.Host = r.In.Host // of which the registry makes the locations of uploads
		},
		ModifyResponse: func(r *http.Response) error {
			if hide {
				r.Header.Del(sparseregistry.SupportHeader)
				r.Header.Del(sparseregistry.ArchitecturesHeader)
				r.Header.Del(sparseregistry.PlatformsHeader)
				r.Header.Del(sparseregistry.WithoutPlatformHeader)
				r.Header.Del(sparseregistry.WideningHeader)
			}
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.note(r.Method + " " + r.URL.Path)
		if hide && r.URL.Path == sparseregistry.CapabilitiesPath {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

func (p *place) note(request string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, request)
}

// forget drops the notes.
func (p *place) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// seen returns the requests that begin with prefix.
func (p *place) seen(prefix string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.requests), func(r string) bool { return !strings.HasPrefix(r, prefix) })
}

// written returns the requests that are to change something.
func (p *place) written() []string {
	return slices.Concat(p.seen(http.MethodPost), p.seen(http.MethodPut), p.seen(http.MethodPatch), p.seen(http.MethodDelete))
}

// asked returns the requests for the registry's policy.
func (p *place) asked() []string {
	return append(p.seen("GET "+sparseregistry.CapabilitiesPath), p.seen("HEAD "+sparseregistry.CapabilitiesPath)...)
}

// ref names a tag for mirror and for containers/image.
func (p *place) ref(tag string) string {
	return "docker://" + strings.TrimPrefix(p.proxy.URL, "http://") + "/" + repo + ":" + tag
}

// check fails the test unless the repository is as want says, by its files and by what it answers.
func (p *place) check(want imagetest.Want) {
	p.t.Helper()
	for _, violation := range imagetest.Inspect(p, want) {
		p.t.Errorf("%s:%s: %s", repo, want.Tag, violation)
	}
}

// checkEmpty fails the test if anything was ever stored.
func (p *place) checkEmpty() {
	p.t.Helper()
	assert.Empty(p.t, p.All(), "nothing is stored")
}

// checkDocument fails the test unless GET and HEAD of ref answer with a document of the fixture, to
// the byte.
func (p *place) checkDocument(f *imagetest.Fixture, ref, name string) {
	p.t.Helper()
	want, mediaType := f.Document(name)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		got := p.client.Get(p.t, method, repo, ref)
		require.Equal(p.t, http.StatusOK, got.Status, "%s of %s: %s", method, ref, got.Body)
		assert.Equal(p.t, f.Digest(name).String(), got.Header.Get("Docker-Content-Digest"))
		assert.Equal(p.t, mediaType, got.Header.Get("Content-Type"))
		if method == http.MethodGet {
			assert.Equal(p.t, string(want), string(got.Body))
		}
	}
}

// checkUnknown fails the test unless the registry says that it does not have these manifests.
func (p *place) checkUnknown(refs ...string) {
	p.t.Helper()
	for _, ref := range refs {
		got := p.client.Get(p.t, http.MethodGet, repo, ref)
		assert.Equal(p.t, http.StatusNotFound, got.Status)
		require.Len(p.t, got.Errors(), 1, "%s", got.Body)
		assert.Equal(p.t, "MANIFEST_UNKNOWN", got.Errors()[0].Code)
		assert.Equal(p.t, http.StatusNotFound, p.client.Get(p.t, http.MethodHead, repo, ref).Status)
	}
}

// A place is a store that imagetest can inspect. What there is, is read from the registry's files;
// content comes from its answers.
var _ imagetest.Store = (*place)(nil)

func (p *place) Top(tag string) (imagetest.Descriptor, error) {
	answer := p.client.Get(p.t, http.MethodGet, repo, tag)
	if answer.Status != http.StatusOK {
		return imagetest.Descriptor{}, fmt.Errorf("%d %s", answer.Status, answer.Body)
	}
	return imagetest.Descriptor{
		MediaType: answer.Header.Get("Content-Type"), Digest: digest.FromBytes(answer.Body), Size: int64(len(answer.Body)),
	}, nil
}

func (p *place) Manifest(d digest.Digest) ([]byte, string, bool) {
	answer := p.client.Get(p.t, http.MethodGet, repo, d.String())
	return answer.Body, answer.Header.Get("Content-Type"), answer.Status == http.StatusOK
}

func (p *place) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	answer := p.client.Do(p.t, http.MethodGet, "/v2/"+repo+"/blobs/"+d.String(), nil, nil)
	return io.NopCloser(bytes.NewReader(answer.Body)), int64(len(answer.Body)), answer.Status == http.StatusOK
}

func (p *place) All() []digest.Digest {
	var all []digest.Digest
	for _, kind := range []string{"_manifests/revisions", "_layers"} {
		dir := filepath.Join(p.storage, "docker/registry/v2/repositories", repo, kind, "sha256")
		entries, err := os.ReadDir(dir)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(p.t, err)
		}
		for _, e := range entries {
			all = append(all, digest.NewDigestFromEncoded(digest.SHA256, e.Name()))
		}
	}
	return all
}
