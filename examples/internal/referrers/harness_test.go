package referrers

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributiontest"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's requests
	os.Exit(hermetictest.Main(m.Run))
}

// A server is distribution with referrers in front of it, as it is put together for the command.
type server struct {
	*sparsetest.Client
	url    string                      // of its root
	plain  http.Handler                // distribution alone, over the same storage
	driver storagedriver.StorageDriver // if the storage is in memory
	store  *registrystore.Store
	links  *Links

	mu       sync.Mutex
	failures []error // guarded by mu
}

func (s *server) failed(_ *http.Request, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, err)
}

func start(t testing.TB) *server {
	t.Helper()
	return startIn(t, t.TempDir())
}

func startIn(t testing.TB, directory string) *server {
	t.Helper()
	app := distributiontest.InDirectory(t, directory)
	store, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	s := &server{plain: app, store: store, links: New(store)}
	h := sparseregistry.Enforce(app, sparseregistry.Options{
		Policy: func(string) manifest.SparsePolicy { return manifest.SparsePolicy{Enabled: true} },
		Stored: s.links.Stored, Deleted: s.links.Deleted,
	})
	front := httptest.NewServer(s.links.Handler(h, Options{Failed: s.failed}))
	t.Cleanup(front.Close)
	s.Client, s.url = sparsetest.NewClient(front.URL), front.URL
	return s
}

// empty is the config of artifacts, and their only layer.
var empty = imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeEmptyJSON, Digest: digest.FromString("{}"), Size: 2}

// A document is a manifest with its digest.
type document struct {
	mediaType string
	body      []byte
	digest    digest.Digest
}

func documentOf(mediaType string, content any) document {
	body, err := json.Marshal(content)
	if err != nil {
		panic(err)
	}
	return document{mediaType, body, digest.FromBytes(body)}
}

// descriptorOf describes a subject as clients do that have it, whatever its type.
func descriptorOf(d digest.Digest) *imgspecv1.Descriptor {
	return &imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: 7}
}

// artifact is an image manifest that refers to a subject; name makes it different from others.
func artifact(subject digest.Digest, artifactType, name string) document {
	m := imgspecv1.Manifest{
		MediaType: imgspecv1.MediaTypeImageManifest, ArtifactType: artifactType, Config: empty, Layers: []imgspecv1.Descriptor{empty},
		Annotations: map[string]string{"name": name},
	}
	m.SchemaVersion = 2
	if subject != "" {
		m.Subject = descriptorOf(subject)
	}
	return documentOf(m.MediaType, m)
}

// list is an index that refers to a subject, if that is not "", and has the given entries.
func list(subject digest.Digest, artifactType string, entries ...imgspecv1.Descriptor) document {
	m := imgspecv1.Index{MediaType: imgspecv1.MediaTypeImageIndex, ArtifactType: artifactType, Manifests: entries}
	m.SchemaVersion = 2
	if entries == nil {
		m.Manifests = []imgspecv1.Descriptor{}
	}
	if subject != "" {
		m.Subject = descriptorOf(subject)
		m.Annotations = map[string]string{"index": "yes"}
	}
	return documentOf(m.MediaType, m)
}

// put stores a document, as repo's ref or, if that is "", by its digest.
func (s *server) put(t testing.TB, repo, ref string, d document) sparsetest.Answer {
	t.Helper()
	if ref == "" {
		ref = d.digest.String()
	}
	answer := s.Do(t, http.MethodPut, sparsetest.ManifestPath(repo, ref), http.Header{"Content-Type": {d.mediaType}}, d.body)
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	return answer
}

// delete deletes a tag or a manifest.
func (s *server) delete(t testing.TB, repo, ref string) {
	t.Helper()
	answer := s.Do(t, http.MethodDelete, sparsetest.ManifestPath(repo, ref), nil, nil)
	require.Equal(t, http.StatusAccepted, answer.Status, "%s", answer.Body)
}

// get reads one page of referrers, which a registry would store; query begins with "?", or is "".
func (s *server) get(t testing.TB, repo string, subject digest.Digest, query string) (sparsetest.Answer, imgspecv1.Index) {
	t.Helper()
	answer := s.page(t, repo, subject, query)
	return answer, parseIndex(t, answer.Body)
}

func (s *server) page(t testing.TB, repo string, subject digest.Digest, query string) sparsetest.Answer {
	t.Helper()
	answer := s.Do(t, http.MethodGet, fmt.Sprintf("/v2/%s/referrers/%s%s", repo, subject, query), nil, nil)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	require.Equal(t, imgspecv1.MediaTypeImageIndex, answer.Header.Get("Content-Type"))
	return answer
}

func parseIndex(t testing.TB, body []byte) imgspecv1.Index {
	t.Helper()
	_, err := manifest.Parse(body, imgspecv1.MediaTypeImageIndex)
	require.NoError(t, err)
	var index imgspecv1.Index
	require.NoError(t, json.Unmarshal(body, &index))
	return index
}

// tag reads what the referrers tag of a subject lists; nil if there is no tag.
func (s *server) tag(t testing.TB, repo string, subject digest.Digest) []digest.Digest {
	t.Helper()
	entries := s.tagEntries(t, repo, subject)
	if entries == nil {
		return nil
	}
	return digestsOf(entries)
}

func (s *server) tagEntries(t testing.TB, repo string, subject digest.Digest) []imgspecv1.Descriptor {
	t.Helper()
	answer := s.Get(t, http.MethodGet, repo, tagOf(subject))
	if answer.Status == http.StatusNotFound {
		return nil
	}
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	return parseIndex(t, answer.Body).Manifests
}

// entries are entries for documents.
func entries(documents ...document) []imgspecv1.Descriptor {
	var all []imgspecv1.Descriptor
	for _, d := range documents {
		all = append(all, imgspecv1.Descriptor{MediaType: d.mediaType, Digest: d.digest, Size: int64(len(d.body))})
	}
	return all
}

// gone is an entry for what is not there.
var gone = imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageManifest, Digest: digest.FromString("gone"), Size: 7}

func digestsOf(descriptors []imgspecv1.Descriptor) []digest.Digest {
	digests := []digest.Digest{}
	for _, d := range descriptors {
		digests = append(digests, d.Digest)
	}
	return digests
}

// all follows the pages, as clients do.
func (s *server) all(t testing.TB, repo string, subject digest.Digest, query string) []imgspecv1.Descriptor {
	t.Helper()
	var found []imgspecv1.Descriptor
	for {
		answer := s.page(t, repo, subject, query)
		var index imgspecv1.Index
		require.NoError(t, json.Unmarshal(answer.Body, &index))
		found = append(found, index.Manifests...)
		link := answer.Header.Get("Link")
		if link == "" {
			return found
		}
		var next string
		_, err := fmt.Sscanf(link, "<%s rel=\"next\"", &next)
		require.NoError(t, err, link)
		query = next[len(fmt.Sprintf("/v2/%s/referrers/%s", repo, subject)) : len(next)-len(">;")]
	}
}

func (s *server) pushEmpty(t testing.TB, repos ...string) {
	t.Helper()
	for _, repo := range repos {
		require.NoError(t, s.PushBlob(t.Context(), repo, []byte("{}")))
	}
}
