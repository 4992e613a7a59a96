package sparseserver

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestWhatIsAskedForIsRenewed: a collection looks at the times of contents.
func TestWhatIsAskedForIsRenewed(t *testing.T) {
	storage := t.TempDir()
	_, client := start(t, Config{Storage: storage, Policies: requireAMD64})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	base := f.Digest("base")
	file := func(d digest.Digest) string {
		return storage + "/docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data"
	}
	// renewed reports whether do renews the time of d, which is old before.
	renewed := func(d digest.Digest, age time.Duration, do func()) bool {
		old := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(file(d), old, old))
		do()
		info, err := os.Stat(file(d))
		require.NoError(t, err)
		return info.ModTime().Sub(old) > age/2
	}
	ask := func(method, path string, status int) func() {
		return func() {
			assert.Equal(t, status, client.Do(t, method, path, http.Header{"Accept": {"*/*"}}, nil).Status)
		}
	}
	const day = 24 * time.Hour
	blob := "/v2/app/blobs/" + base.String()
	assert.True(t, renewed(base, day, ask(http.MethodHead, blob, http.StatusOK)))
	assert.True(t, renewed(base, day, ask(http.MethodGet, blob, http.StatusOK)))
	assert.False(t, renewed(base, renewAfter/2, ask(http.MethodGet, blob, http.StatusOK)))
	assert.True(t, renewed(base, day, ask(http.MethodPost, "/v2/b/blobs/uploads/?from=app&mount="+base.String(), http.StatusCreated)))
	assert.True(t, renewed(base, day, func() { require.NoError(t, client.PushBlob(t.Context(), "c", f.Content("base"))) }))
	assert.False(t, renewed(base, day, ask(http.MethodGet, "/v2/d/blobs/"+base.String(), http.StatusNotFound)))
	amd64 := f.Digest("amd64")
	assert.True(t, renewed(amd64, day, func() { client.Get(t, http.MethodHead, "app", amd64.String()) }))
	assert.True(t, renewed(amd64, day, func() { client.Put(t, f, "app", "v1", "amd64") }), "it is there already")
	assert.True(t, renewed(amd64, day, func() { client.Get(t, http.MethodHead, "app", "v1") }))
	assert.True(t, renewed(amd64, day, func() { client.Put(t, f, "app", "v2", "top") }), "the list relies on it")
	for path, of := range map[string]digest.Digest{
		blob: base, sparsetest.ManifestPath("app", amd64.String()): amd64, sparsetest.ManifestPath("app", "v1"): amd64,
	} {
		header := http.Header{"Accept": {"*/*"}, "If-None-Match": {`"` + of.String() + `"`}}
		assert.True(t, renewed(of, day, func() {
			assert.Equal(t, http.StatusNotModified, client.Do(t, http.MethodGet, path, header, nil).Status)
		}), path)
	}
}
