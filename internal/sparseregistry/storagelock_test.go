package sparseregistry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// A gate is a registry behind that says when a request has come to it, and waits there.
type gate struct {
	arrived chan string   // the body, if the request has one
	open    chan struct{} // lets one request send its header
	rest    chan struct{} // lets it end
}

func newGate() *gate {
	return &gate{make(chan string), make(chan struct{}), make(chan struct{})}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	g.arrived <- string(body)
	<-g.open
	w.WriteHeader(http.StatusCreated)
	<-g.rest
}

// TestTheStorageLockIsHeldWhileTheRegistryWorks, and not while a client sends or receives.
func TestTheStorageLockIsHeldWhileTheRegistryWorks(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		recorded           bool // the answer is sent when it is complete, or may be
	}{
		{http.MethodGet, "/v2/app/blobs/" + absent.String(), "", false},
		{http.MethodHead, "/v2/app/manifests/v1", "", false},
		{http.MethodDelete, "/v2/app/blobs/" + absent.String(), "", true},
		{http.MethodPost, "/v2/app/blobs/uploads/?mount=" + absent.String() + "&from=b", "", false},
		{http.MethodPost, "/v2/app/blobs/uploads/", "form", false},
		{http.MethodPut, "/v2/app/blobs/uploads/1?digest=" + absent.String(), "content", false},
		{http.MethodPatch, "/v2/app/blobs/uploads/1", "content", false},
		{http.MethodPut, "/v2/app/manifests/v1", `{"config": {}}`, true},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			g, lock := newGate(), &sparseregistry.StorageLock{}
			h := sparseregistry.Enforce(g, sparseregistry.Options{Storage: lock})
			body, send := io.Pipe()
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
			if c.body != "" {
				r.Body, r.ContentLength = body, -1
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				h.ServeHTTP(httptest.NewRecorder(), r)
			}()
			if c.body != "" { // half of a body holds nothing
				_, err := io.WriteString(send, c.body[:2])
				require.NoError(t, err)
				assert.False(t, lock.Held())
				_, err = io.WriteString(send, c.body[2:])
				require.NoError(t, err)
				require.NoError(t, send.Close())
			}
			assert.Equal(t, c.body, <-g.arrived)
			assert.True(t, lock.Held(), "while the registry works")
			g.open <- struct{}{}
			if c.recorded {
				g.rest <- struct{}{}
				<-served
				assert.False(t, lock.Held())
				return
			}
			lock.Exclusive()() // though the answer has not ended
			g.rest <- struct{}{}
			<-served
		})
	}
}

func TestWhoHasTheStorageLockAloneKeepsRequestsWaiting(t *testing.T) {
	lock := &sparseregistry.StorageLock{}
	arrived := make(chan struct{}, 1)
	h := sparseregistry.Enforce(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{} }),
		sparseregistry.Options{Storage: lock})
	release := lock.Exclusive()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/", nil))
	<-arrived // what asks for neither manifests nor blobs goes on
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/v2/app/manifests/v1", nil))
	}()
	select {
	case <-arrived:
		t.Error("a request passed")
	case <-done:
		t.Error("a request was answered")
	default:
	}
	release()
	<-done
	<-arrived
}

// TestAMountHasNoBody: a body that is never read to its end would leave a mount without the lock.
func TestAMountHasNoBody(t *testing.T) {
	s := &spy{}
	h := sparseregistry.Enforce(s, sparseregistry.Options{Storage: &sparseregistry.StorageLock{}})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/app/blobs/uploads/?from=b&mount="+absent.String(), strings.NewReader("body"))
	h.ServeHTTP(httptest.NewRecorder(), r)
	assert.Empty(t, s.of(http.MethodPost)[0].body)
}

func TestNoteUses(t *testing.T) {
	const canonical = digest.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000001")
	manifest, blob := sparseregistry.Use{Repository: "a/b", Manifest: true}, sparseregistry.Use{Repository: "a/b"}
	of := func(u sparseregistry.Use, digests ...digest.Digest) (all []sparseregistry.Use) {
		for _, u.Digest = range digests {
			all = append(all, u)
		}
		return all
	}
	for _, c := range []struct {
		request  string
		status   int // 0 for a handler that writes nothing
		answered digest.Digest
		want     []sparseregistry.Use
	}{
		{"HEAD /v2/a/b/manifests/v1", 200, canonical, of(manifest, canonical)},
		{"GET /v2/a/b/manifests/" + absent.String(), 0, absent, of(manifest, absent)},
		{"GET /v2/a/b/manifests/" + absent.String(), 404, "", nil},
		{"PUT /v2/a/b/manifests/v1", 201, canonical, of(manifest, canonical)},
		{"PUT /v2/a/b/manifests/v1", 400, canonical, nil},
		{"DELETE /v2/a/b/manifests/" + absent.String(), 200, canonical, nil},
		{"GET /v2/a/b/blobs/" + absent.String(), 206, canonical, of(blob, canonical, absent)},
		{"HEAD /v2/a/b/blobs/" + absent.String(), 307, "", of(blob, absent)},
		{"POST /v2/a/b/blobs/uploads/?from=c&mount=" + absent.String(), 201, absent, of(blob, absent)},
		{"POST /v2/a/b/blobs/uploads/?from=c&mount=" + absent.String(), 202, "", nil},
		{"PUT /v2/a/b/blobs/uploads/id?digest=" + absent.String(), 201, canonical, of(blob, canonical, absent)},
		{"PATCH /v2/a/b/blobs/uploads/id", 202, canonical, nil},
		{"GET /v2/a/b/blobs/uploads/id", 204, canonical, nil},
		{"GET /v2/a/b/tags/list", 200, canonical, nil},
		{"GET /v2/", 200, canonical, nil},
		{"PUT /v2/blobs/uploads/id", 201, canonical, nil},
	} {
		var used []sparseregistry.Use
		h := sparseregistry.NoteUses(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", string(c.answered))
			if c.status != 0 {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(c.status)
				assert.Equal(t, c.want, used, "before the answer goes out")
			}
		}), func(u sparseregistry.Use) { used = append(used, u) })
		method, path, _ := strings.Cut(c.request, " ")
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path, nil))
		assert.Equal(t, c.want, used, c.request)
	}
}
