package sparseserver

import (
	"crypto/tls"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestDrain has a server say that it stops: it does everything as before, over connections that end
// with the answer.
func TestDrain(t *testing.T) {
	server, client := start(t, Config{})
	f := sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	server.Drain()
	for range 2 {
		for _, path := range []string{healthPath, readyPath} {
			answer := client.Do(t, http.MethodGet, path, nil, nil)
			assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
			assert.Equal(t, "stopping\n", string(answer.Body))
		}
		assert.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "amd64").Status)
		assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", "v1").Status)
	}
	response, err := http.Get(server.URL() + "/v2/")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.True(t, response.Close, "the connection could be used again")
	require.NoError(t, server.Shutdown(t.Context()))
}

// TestDrainOverHTTP2 sends many requests over one connection: it ends, and no request fails.
func TestDrainOverHTTP2(t *testing.T) {
	var c Config
	c.Certificate, c.Key = writeCertificate(t, t.TempDir(), time.Hour)
	server, _ := start(t, c)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	client := sparsetest.NewClientOf(server.URL(), transport)
	defer client.CloseIdle()
	require.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status)
	server.Drain()
	for range 20 {
		assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status)
	}
}

// TestAPIVersion looks for the header in answers of everybody: once, and of the API only.
func TestAPIVersion(t *testing.T) {
	_, client := start(t, Config{Policies: requireAMD64, NoDelete: true})
	f := sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "arm64"))
	f.List("sparse", imagetest.Entries("amd64", "arm64"))
	for name, answer := range map[string]sparsetest.Answer{
		"distribution":         client.Do(t, http.MethodGet, "/v2/", nil, nil),
		"capabilities":         client.Do(t, http.MethodGet, sparseregistry.CapabilitiesPath, nil, nil),
		"distribution's 404":   client.Get(t, http.MethodGet, "app", "none"),
		"a refused list":       client.Put(t, f, "app", "v1", "sparse"),
		"a stored image":       client.Put(t, f, "app", "v1", "arm64"),
		"a path":               client.Do(t, http.MethodGet, "/v2/app//manifests/v1", nil, nil),
		"what is switched off": client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", "v1"), nil, nil),
	} {
		assert.Equal(t, []string{apiVersionValue}, answer.Header.Values(apiVersion), name)
	}
	assert.Empty(t, client.Do(t, http.MethodGet, healthPath, nil, nil).Header.Values(apiVersion))
}
