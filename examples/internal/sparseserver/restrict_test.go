package sparseserver

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

func TestReadOnlyAndNoDelete(t *testing.T) {
	storage := t.TempDir()
	f := sparsetest.Fixture(false)
	server, client := start(t, Config{Storage: storage})
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "amd64").Status)
	manifest := sparsetest.ManifestPath("app", f.Digest("amd64").String())
	require.NoError(t, server.Close())

	check := func(t *testing.T, client *sparsetest.Client, method, path, message, allow string) {
		t.Helper()
		answer := client.Do(t, method, path, nil, nil)
		assert.Equal(t, http.StatusMethodNotAllowed, answer.Status, "%s %s", method, path)
		assert.Equal(t, []sparsetest.ResponseError{{Code: "UNSUPPORTED", Message: message}}, answer.Errors())
		assert.Equal(t, allow, answer.Header.Get("Allow"))
	}
	for _, c := range []struct {
		name           string
		config         Config
		message, allow string
		refused        [][2]string
	}{
		{"read-only", Config{ReadOnly: true}, "the registry is read-only", "GET, HEAD, OPTIONS", [][2]string{
			{http.MethodPut, "/v2/app/manifests/v2"},
			{http.MethodPost, "/v2/app/blobs/uploads/"},
			{http.MethodPatch, "/v2/app/blobs/uploads/x"},
			{http.MethodDelete, "/v2/app/blobs/uploads/x"},
			{http.MethodDelete, "/v2/app/manifests/v1"},
			{http.MethodDelete, manifest},
		}},
		{"no DELETE", Config{NoDelete: true}, "deletion is switched off in this registry", "GET, HEAD, OPTIONS, POST, PUT, PATCH", [][2]string{
			{http.MethodDelete, "/v2/app/manifests/v1"},
			{http.MethodDelete, manifest},
			{http.MethodDelete, "/v2/app/blobs/" + f.Digest("amd64").String()},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.Storage = storage
			server, client := start(t, c.config)
			for _, request := range c.refused {
				check(t, client, request[0], request[1], c.message, c.allow)
			}
			assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status)
			assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", "v1").Status)
			require.NoError(t, server.Close())
		})
	}

	_, client = start(t, Config{Storage: storage, NoDelete: true})
	upload := startUpload(t, client)
	assert.Equal(t, http.StatusNoContent, client.Do(t, http.MethodDelete, upload, nil, nil).Status, "an upload can be given up")
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v2", "amd64").Status)
}
