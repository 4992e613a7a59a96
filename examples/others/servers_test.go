package others

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // the storage
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// A server is a registry of the field, as one of its own packages makes it. The fields say in what
// it differs from the others.
type server struct {
	name string
	make func(t *testing.T) http.Handler

	// requires are the architectures that a list needs, nil for none. Where complete is set, it
	// needs all that it names; not a Docker list where unchecked is set.
	requires            []string
	complete, unchecked bool
	// refusal are words of the answer to a list that lacks one. unclear says that the answer does
	// not tell what is wrong.
	refusal string
	unclear bool
	// useless says that the answer is one from which nothing can be concluded, so that Auto does
	// not strip.
	useless bool
	// referrers says that there is the referrers API. Where crashes is set, there is none, and the
	// server closes the connection when it is sent an index with entries that have no platform,
	// which lists of referrers are.
	referrers, crashes bool
	// subjectHeader says that the header OCI-Subject is sent although there is no API: other
	// clients take it for one, and write no referrers tag.
	subjectHeader bool
	// losesReferrers says that of two referrers which are pushed at the same time, as other clients
	// do, one may not be listed afterwards: findings/referrers-lost.sh.
	losesReferrers bool
}

// takes reports whether the server takes a list of which it has children for these architectures
// only.
func (s *server) takes(architectures ...string) bool {
	if s.complete {
		return len(architectures) == len(list)
	}
	return !slices.ContainsFunc(s.requires, func(r string) bool { return !slices.Contains(architectures, r) })
}

// servers are all that can be had as modules.
var servers = []server{
	{
		name: "distribution 3.1.2", make: distribution("all"),
		complete: true, refusal: "MANIFEST_BLOB_UNKNOWN",
	},
	{name: "distribution 3.1.2 platforms none", make: distribution("none")},
	{
		name: "distribution 3.1.2 platforms list", make: distribution("list", "amd64"),
		requires: []string{"amd64"}, refusal: "MANIFEST_BLOB_UNKNOWN", crashes: true,
	},
	{
		name: "go-containerregistry 0.22.1", make: goContainerRegistry(true),
		complete: true, refusal: "MANIFEST_UNKNOWN", referrers: true,
	},
	{
		name: "go-containerregistry 0.22.1 without referrers", make: goContainerRegistry(false),
		complete: true, refusal: "MANIFEST_UNKNOWN",
	},
	{
		name: "ociserver", make: cueLabs(&ociserver.Options{}),
		complete: true, unchecked: true, refusal: "UNKNOWN", useless: true, referrers: true,
	},
	{
		name: "ociserver without referrers", make: cueLabs(&ociserver.Options{DisableReferrersAPI: true}),
		subjectHeader: true,
		complete:      true, unchecked: true, refusal: "UNKNOWN", useless: true,
	},
	{
		name: "olareg 0.2.2", make: olaregServer(false),
		complete: true, refusal: "MANIFEST_BLOB_UNKNOWN", referrers: true, losesReferrers: true,
	},
	{name: "olareg 0.2.2 sparse", make: olaregServer(true), referrers: true, losesReferrers: true},
}

// distribution is distribution with a value of validation.manifests.indexes.platforms, and the
// architectures of platformlist.
func distribution(platforms string, architectures ...string) func(*testing.T) http.Handler {
	return func(t *testing.T) http.Handler {
		config := &configuration.Configuration{
			Storage: configuration.Storage{"inmemory": {}, "delete": {"enabled": true}},
			Catalog: configuration.Catalog{MaxEntries: 1000},
			Tags:    configuration.Tags{MaxTags: 1000},
		}
		config.Validation.Manifests.Indexes.Platforms = configuration.Platforms(platforms)
		for _, architecture := range architectures {
			config.Validation.Manifests.Indexes.PlatformList = append(config.Validation.Manifests.Indexes.PlatformList,
				configuration.Platform{OS: "linux", Architecture: architecture})
		}
		app := handlers.NewApp(t.Context(), config)
		t.Cleanup(func() { _ = app.Shutdown() })
		return app
	}
}

func goContainerRegistry(referrers bool) func(*testing.T) http.Handler {
	return func(*testing.T) http.Handler {
		return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers))
	}
}

func cueLabs(options *ociserver.Options) func(*testing.T) http.Handler {
	return func(*testing.T) http.Handler { return ociserver.New(ocimem.New(), options) }
}

func olaregServer(sparse bool) func(*testing.T) http.Handler {
	return func(t *testing.T) http.Handler {
		yes, no := true, false
		handler := olareg.New(config.Config{
			Storage: config.ConfigStorage{StoreType: config.StoreMem, GC: config.ConfigGC{Frequency: -1, Untagged: &no}},
			API:     config.ConfigAPI{DeleteEnabled: &yes, Manifest: config.ConfigAPIManifest{SparseIndex: &sparse}},
			Log:     slog.New(slog.DiscardHandler),
		})
		t.Cleanup(func() { require.NoError(t, handler.Close()) })
		return handler
	}
}

// A running is a server, and what was stored there.
type running struct {
	*server
	t      *testing.T
	host   string
	client *sparsetest.Client // whose requests are noted, too

	mu       sync.Mutex
	requests []string // method and path; guarded by mu
	stored   []stored // guarded by mu
}

// stored is a blob or manifest that was accepted.
type stored struct {
	digest digest.Digest
	tag    string // that the manifest was put by
}

// start starts an empty registry.
func (s *server) start(t *testing.T) *running {
	t.Helper()
	r := &running{server: s, t: t}
	handler := s.make(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.serve(handler, w, req) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	r.client = sparsetest.NewClient(server.URL)
	t.Cleanup(r.client.CloseIdle)
	return r
}

// serve has the handler answer a request, and notes it and what it stored. The request is noted
// first: of a large answer, the client has all before the handler returns.
func (r *running) serve(handler http.Handler, w http.ResponseWriter, req *http.Request) {
	method, path, query := req.Method, req.URL.Path, req.URL.Query()
	r.note(method + " " + path)
	var body bytes.Buffer
	manifest := strings.Contains(path, "/manifests/")
	if method == http.MethodPut && manifest {
		req.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(req.Body, &body), req.Body}
	}
	status := &statusWriter{ResponseWriter: w}
	handler.ServeHTTP(status, req)
	var got stored
	switch done := status.status == http.StatusCreated; {
	case done && method == http.MethodPut && manifest:
		got.digest = digest.FromBytes(body.Bytes())
		if ref := path[strings.LastIndex(path, "/")+1:]; !strings.Contains(ref, ":") {
			got.tag = ref
		}
	case done && query.Has("digest"):
		got.digest = digest.Digest(query.Get("digest"))
	case done && query.Has("mount"):
		got.digest = digest.Digest(query.Get("mount"))
	}
	if got.digest != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stored = append(r.stored, got)
	}
}

func (r *running) note(request string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// forget drops what was noted of requests, and returns it.
func (r *running) forget() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.requests = nil }()
	return r.requests
}

// lose deletes a manifest behind the back of everybody.
func (r *running) lose(d digest.Digest) {
	r.t.Helper()
	answer := r.client.Do(r.t, http.MethodDelete, sparsetest.ManifestPath(repo, d.String()), nil, nil)
	require.Equal(r.t, http.StatusAccepted, answer.Status, "%s", answer.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = slices.DeleteFunc(r.stored, func(s stored) bool { return s.digest == d })
}

// check fails the test unless the repository is as want says, and the tag was written last.
func (r *running) check(want imagetest.Want) {
	r.t.Helper()
	for _, violation := range imagetest.Inspect(r, want) {
		r.t.Errorf("%s:%s: %s", repo, want.Tag, violation)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var late []digest.Digest
	for _, name := range want.Late {
		late = slices.Concat(late, want.Fixture.Manifests(name), want.Fixture.Blobs(name))
	}
	for _, s := range slices.Backward(r.stored) {
		if s.tag == want.Tag {
			return
		}
		if !slices.Contains(late, s.digest) {
			r.t.Errorf("%s was stored after the tag", want.Fixture.Name(s.digest))
		}
	}
}

// has reports whether a tag names something.
func (r *running) has(tag string) bool {
	r.t.Helper()
	answer := r.client.Get(r.t, http.MethodGet, repo, tag)
	require.Contains(r.t, []int{http.StatusOK, http.StatusNotFound}, answer.Status)
	return answer.Status == http.StatusOK
}

// A running is a store that imagetest can inspect: content comes from its answers, what there is at
// all from what it accepted.
var _ imagetest.Store = (*running)(nil)

func (r *running) Top(tag string) (imagetest.Descriptor, error) {
	answer := r.client.Get(r.t, http.MethodGet, repo, tag)
	if answer.Status != http.StatusOK {
		return imagetest.Descriptor{}, fmt.Errorf("%d %s", answer.Status, answer.Body)
	}
	return imagetest.Descriptor{MediaType: answer.Header.Get("Content-Type"), Digest: digest.FromBytes(answer.Body), Size: int64(len(answer.Body))}, nil
}

func (r *running) Manifest(d digest.Digest) ([]byte, string, bool) {
	answer := r.client.Get(r.t, http.MethodGet, repo, d.String())
	return answer.Body, answer.Header.Get("Content-Type"), answer.Status == http.StatusOK
}

func (r *running) Blob(d digest.Digest) (io.ReadCloser, int64, bool) {
	answer := r.client.Do(r.t, http.MethodGet, "/v2/"+repo+"/blobs/"+d.String(), nil, nil)
	return io.NopCloser(bytes.NewReader(answer.Body)), int64(len(answer.Body)), answer.Status == http.StatusOK
}

func (r *running) All() []digest.Digest {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]digest.Digest, len(r.stored))
	for i, s := range r.stored {
		all[i] = s.digest
	}
	return all
}
