package sparseserver

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// Distribution takes names that begin with a domain, in upper case, too.
func TestReferrersInARepositoryOfADomain(t *testing.T) {
	_, client := start(t, Config{})
	f := imagetest.New()
	f.Image("image", imagetest.Platform("linux/amd64"))
	f.Artifact("sbom", imagetest.Subject("image"), imagetest.ArtifactType("application/spdx+json"))
	const repository = "Registry.Example/app"
	require.NoError(t, client.PushImage(t.Context(), f, repository, "sbom"))
	answer := client.Do(t, http.MethodGet, "/v2/"+repository+"/referrers/"+f.Digest("image").String(), nil, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Contains(t, string(answer.Body), f.Digest("sbom").String())
}

// What one server links a later one lists, which writes nothing, and tells its users only.
func TestReferrers(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(htpasswd, []byte("alice:"+string(hash)+"\n"), 0o600))
	f := imagetest.New()
	f.Layer("base", imagetest.File("etc/motd", "hello\n"))
	f.Image("image", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
	f.Artifact("sbom", imagetest.Subject("image"), imagetest.ArtifactType("application/spdx+json"))
	path := "/v2/app/referrers/" + f.Digest("image").String()
	storage := t.TempDir()

	server, client := start(t, Config{Storage: storage})
	require.NoError(t, client.PushImage(t.Context(), f, "app", "image"))
	require.NoError(t, client.PushImage(t.Context(), f, "app", "sbom"))
	assert.Equal(t, f.Digest("image").String(), client.Put(t, f, "app", "", "sbom").Header.Get("OCI-Subject"))
	assert.Contains(t, string(client.Do(t, http.MethodGet, path, nil, nil).Body), f.Digest("sbom").String())
	require.NoError(t, server.Close())

	var log logBuffer
	_, client = start(t, Config{Storage: storage, Htpasswd: htpasswd, ReadOnly: true, Log: log.logger()})
	assert.Equal(t, http.StatusUnauthorized, client.Do(t, http.MethodGet, path, nil, nil).Status)
	alice := http.Header{"Authorization": {"Basic YWxpY2U6c2VjcmV0"}}
	answer := client.Do(t, http.MethodGet, path, alice, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Contains(t, string(answer.Body), f.Digest("sbom").String())
	assert.Equal(t, http.StatusMethodNotAllowed, client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", f.Digest("sbom").String()), alice, nil).Status)

	d := f.Digest("sbom").Encoded()
	blob := filepath.Join(storage, "docker/registry/v2/blobs/sha256", d[:2], d, "data")
	require.NoError(t, os.WriteFile(blob, []byte("altered"), 0o600))
	assert.Equal(t, http.StatusInternalServerError, client.Do(t, http.MethodGet, path, alice, nil).Status)
	require.Eventually(t, func() bool { return len(log.lines("status=500")) == 1 }, time.Minute, time.Millisecond)
	assert.True(t, strings.Contains(log.lines("status=500")[0], "the content does not have this digest"))
}
