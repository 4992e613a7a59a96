package registrygc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/distributiontest"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	factory.Register("given", given{})
	os.Exit(hermetictest.Main(m.Run))
}

// given is the factory of a driver that exists.
type given struct{}

func (given) Create(_ context.Context, parameters map[string]any) (storagedriver.StorageDriver, error) {
	return parameters["driver"].(storagedriver.StorageDriver), nil
}

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	listType  = "application/vnd.oci.image.index.v1+json"
)

// A registry is distribution over a storage that a test looks at.
type registry struct {
	t       testing.TB
	handler http.Handler
	driver  storagedriver.StorageDriver // of a storage in memory
	store   *registrystore.Store
}

// newRegistry starts a registry over a storage in memory, which is for one client at a time: what
// is read is not safe from what is written.
func newRegistry(t testing.TB) *registry {
	t.Helper()
	driver := inmemory.New()
	handler := distributiontest.New(t, "given", configuration.Parameters{"driver": driver})
	return &registry{t: t, handler: handler, driver: driver, store: registrystore.New(driver)}
}

// newDirectory starts a registry over a directory.
func newDirectory(t testing.TB) *registry {
	t.Helper()
	directory := t.TempDir()
	handler := distributiontest.InDirectory(t, directory)
	store, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	return &registry{t: t, handler: handler, store: store}
}

func (r *registry) do(method, target, contentType, body string) *httptest.ResponseRecorder {
	r.t.Helper()
	request := httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body))
	request.Header.Set("Accept", imageType+","+listType)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer := httptest.NewRecorder()
	r.handler.ServeHTTP(answer, request)
	return answer
}

func (r *registry) must(status int, method, target, contentType, body string) *httptest.ResponseRecorder {
	r.t.Helper()
	answer := r.do(method, target, contentType, body)
	require.Equal(r.t, status, answer.Code, "%s %s: %s", method, target, answer.Body)
	return answer
}

func (r *registry) pushBlob(repository, content string) digest.Digest {
	r.t.Helper()
	return r.pushBlobAs(repository, content, digest.FromString(content))
}

func (r *registry) pushBlobAs(repository, content string, d digest.Digest) digest.Digest {
	r.t.Helper()
	location, err := url.Parse(r.must(http.StatusAccepted, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", "").Header().Get("Location"))
	require.NoError(r.t, err)
	r.must(http.StatusCreated, http.MethodPut, location.RequestURI()+"&digest="+d.String(), "application/octet-stream", content)
	return d
}

// push stores a document as ref, "" for its digest.
func (r *registry) push(repository, ref string, doc document) digest.Digest {
	r.t.Helper()
	d := digest.FromString(doc.text)
	if ref == "" {
		ref = d.String()
	}
	r.must(http.StatusCreated, http.MethodPut, "/v2/"+repository+"/manifests/"+ref, doc.mediaType, doc.text)
	return d
}

func (r *registry) hasManifest(repository string, d digest.Digest) bool {
	r.t.Helper()
	return r.do(http.MethodHead, "/v2/"+repository+"/manifests/"+d.String(), "", "").Code == http.StatusOK
}

func (r *registry) hasBlob(repository string, d digest.Digest) bool {
	r.t.Helper()
	return r.do(http.MethodHead, "/v2/"+repository+"/blobs/"+d.String(), "", "").Code == http.StatusOK
}

// contents are the contents in the storage, in order.
func (r *registry) contents() []digest.Digest {
	r.t.Helper()
	var all []digest.Digest
	require.NoError(r.t, r.store.Blobs(r.t.Context(), func(b registrystore.Blob) error { all = append(all, b.Digest); return nil }))
	slices.Sort(all)
	return all
}

// A document is a manifest.
type document struct {
	mediaType string
	text      string
	names     []digest.Digest
	subject   digest.Digest // "" for none
}

func (d document) digest() digest.Digest { return digest.FromString(d.text) }

// sizes are the sizes of the documents that were made, by digest.
var sizes sync.Map

func newDocument(mediaType, text string, names []digest.Digest, subject digest.Digest) document {
	d := document{mediaType, text, names, subject}
	sizes.Store(d.digest(), len(text))
	return d
}

func descriptor(mediaType string, d digest.Digest) string {
	size, ok := sizes.Load(d)
	if !ok {
		size = 1
	}
	return fmt.Sprintf(`{"mediaType": %q, "digest": %q, "size": %d}`, mediaType, d, size)
}

func tail(subject digest.Digest) string {
	if subject == "" {
		return "}"
	}
	return `, "subject": ` + descriptor(imageType, subject) + "}"
}

// image is an image, or with a subject a referrer.
func image(subject, config digest.Digest, layers ...digest.Digest) document {
	parts := make([]string, len(layers))
	for i, d := range layers {
		parts[i] = descriptor("application/octet-stream", d)
	}
	text := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "config": %s, "layers": [%s]`,
		imageType, descriptor("application/vnd.oci.image.config.v1+json", config), strings.Join(parts, ", "))
	return newDocument(imageType, text+tail(subject), append([]digest.Digest{config}, layers...), subject)
}

func list(subject digest.Digest, children ...digest.Digest) document {
	parts := make([]string, len(children))
	for i, d := range children {
		parts[i] = descriptor(imageType, d)
	}
	text := fmt.Sprintf(`{"schemaVersion": 2, "mediaType": %q, "manifests": [%s]`, listType, strings.Join(parts, ", "))
	return newDocument(listType, text+tail(subject), children, subject)
}

// mark is a time after everything that was written, and before everything that will be.
func mark() time.Time {
	before := time.Now()
	for {
		if now := time.Now(); now.After(before) {
			return now
		}
	}
}
