package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestRedirectedUpload redirects an upload whose content cannot be opened a second time.
func TestRedirectedUpload(t *testing.T) {
	reg := registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodPut, ""), func(_ int, req *http.Request) registrytest.Answer {
			return registrytest.Answer{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {req.URL.RequestURI()}}}
		}),
	})
	d := openDestination(t, reg.Host()+"/app:v1", insecure(t), quick())
	content := []byte("content")
	gone := errors.New("gone")
	opened := 0
	_, err := d.PutBlob(t.Context(), blobOf(content), func(context.Context) (io.ReadCloser, error) {
		if opened++; opened > 1 {
			return nil, gone
		}
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	require.ErrorIs(t, err, gone)
}
