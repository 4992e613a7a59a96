//go:build s3

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	os.Exit(m.Run())
}

// startS3 serves an empty bucket, and returns distribution's configuration for it.
func startS3(t *testing.T, redirect bool) *configuration.Configuration {
	t.Helper()
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("registry"))
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return &configuration.Configuration{
		Storage: configuration.Storage{
			"s3": {
				"region": "us-east-1", "regionendpoint": server.URL, "bucket": "registry", "rootdirectory": "/registry",
				"accesskey": "key", "secretkey": "secret", "secure": false, "forcepathstyle": true, "chunksize": 5 << 20,
			},
			"redirect": {"disable": !redirect},
		},
		Catalog: configuration.Catalog{MaxEntries: 100}, Tags: configuration.Tags{MaxTags: 100},
	}
}

func start(t *testing.T, config *configuration.Configuration) (*sparseserver.Server, *sparsetest.Client) {
	t.Helper()
	server, err := sparseserver.Start(sparseserver.Config{
		Address: "127.0.0.1:0", Distribution: config,
		Policies: sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return server, sparsetest.NewClient(server.URL())
}

// TestS3 pushes, pulls and deletes over an object store.
func TestS3(t *testing.T) {
	config := startS3(t, false)
	server, client := start(t, config)
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/healthz", nil, nil).Status, "an empty bucket is a storage")

	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	refused := client.Put(t, f, "app", "v1", "top")
	require.Equal(t, http.StatusBadRequest, refused.Status)
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", refused.Errors()[0].Code)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
	large := content(12 << 20) // more than one part
	require.NoError(t, client.PushBlob(t.Context(), "app", large))

	require.NoError(t, server.Close()) // what is stored is there for the next
	server, client = start(t, config)
	list := client.Get(t, http.MethodGet, "app", "v1")
	require.Equal(t, http.StatusOK, list.Status)
	assert.Equal(t, f.Digest("top"), digest.FromBytes(list.Body))
	assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodGet, "app", f.Digest("arm64").String()).Status)
	blob := client.Do(t, http.MethodGet, "/v2/app/blobs/"+digest.FromBytes(large).String(), nil, nil)
	require.Equal(t, http.StatusOK, blob.Status)
	assert.True(t, bytes.Equal(large, blob.Body))
	mount := client.Do(t, http.MethodPost, "/v2/other/blobs/uploads/?from=app&mount="+digest.FromBytes(large).String(), nil, nil)
	assert.Equal(t, http.StatusCreated, mount.Status)
	assert.Contains(t, string(client.Do(t, http.MethodGet, "/v2/app/tags/list", nil, nil).Body), `"v1"`)
	assert.Contains(t, string(client.Do(t, http.MethodGet, "/v2/_catalog", nil, nil).Body), `"app"`)

	child := sparsetest.ManifestPath("app", f.Digest("amd64").String())
	require.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, child, nil, nil).Status)
	assert.Equal(t, http.StatusNotFound, client.Do(t, http.MethodGet, child, nil, nil).Status)
	assert.Equal(t, http.StatusBadRequest, client.Put(t, f, "app", "v2", "top").Status)
	require.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", "v1"), nil, nil).Status)
	assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodGet, "app", "v1").Status)
	require.NoError(t, server.Close())
}

// TestS3Redirects hands a blob out from the object store itself.
func TestS3Redirects(t *testing.T) {
	_, client := start(t, startS3(t, true))
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("content")))
	answer := client.Do(t, http.MethodGet, "/v2/app/blobs/"+digest.FromString("content").String(), nil, nil)
	require.Equal(t, http.StatusTemporaryRedirect, answer.Status)
	response, err := http.Get(answer.Header.Get("Location"))
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "content", string(body))
}

func TestABucketThatIsNotThere(t *testing.T) {
	config := startS3(t, false)
	config.Storage["s3"]["bucket"] = "none"
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Distribution: config})
	if err == nil {
		t.Cleanup(func() { _ = server.Close() })
	}
	require.Error(t, err)
}

func content(size int) []byte {
	b := make([]byte, size)
	source := rand.NewPCG(1, 2)
	for i := range b {
		b[i] = byte(source.Uint64())
	}
	return b
}
