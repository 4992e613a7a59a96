package sparseregistry_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestAManifestIsAdmittedWhenItHasArrived: clients who take their time hold nothing, and nobody
// waits for them.
func TestAManifestIsAdmittedWhenItHasArrived(t *testing.T) {
	var admitted, released atomic.Int64
	var weight atomic.Int64
	spool := t.TempDir()
	server := httptest.NewServer(sparseregistry.Enforce(&spy{}, sparseregistry.Options{
		Spool: spool,
		Admit: func(_ context.Context, w int64) (func(), error) {
			admitted.Add(1)
			weight.Store(w)
			return func() { released.Add(1) }, nil
		},
	}))
	defer server.Close()
	large := `{"schemaVersion":2,"manifests":[],"padding":"` + strings.Repeat("x", 300_000) + `"}`
	slow, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer slow.Close()
	request := rawBody(large, ociIndex, true)
	_, err = io.WriteString(slow, request[:200_000])
	require.NoError(t, err)

	answer := put(t, sparsetest.NewClient(server.URL), "/v2/app/manifests/v2", ociIndex, `{"schemaVersion":2,"manifests":[]}`)
	require.Equal(t, http.StatusCreated, answer.Status)
	assert.EqualValues(t, 1, admitted.Load())
	small := weight.Load()

	_, err = io.WriteString(slow, request[200_000:])
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusCreated, resp.StatusCode)
	assert.EqualValues(t, 2, admitted.Load())
	assert.EqualValues(t, 2, released.Load())
	assert.Greater(t, weight.Load(), 1000*small)
	left, err := os.ReadDir(spool)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAManifestThatIsNotAdmittedIsToBeTriedAgain(t *testing.T) {
	behind := &spy{}
	var refusals []sparseregistry.Refusal
	client := sparsetest.ServeHandler(t, sparseregistry.Enforce(behind, sparseregistry.Options{
		Admit:   func(context.Context, int64) (func(), error) { return nil, errors.New("no room") },
		Refused: func(_ *http.Request, r sparseregistry.Refusal) { refusals = append(refusals, r) },
	}))
	answer := put(t, client, "/v2/app/manifests/v1", ociIndex, sparse())
	wantRefusal(t, answer, http.StatusServiceUnavailable, "UNAVAILABLE", "the registry is busy with other manifests; try again: no room")
	assert.Equal(t, "5", answer.Header.Get("Retry-After"))
	assert.Empty(t, behind.requests)
	require.Len(t, refusals, 1)
	assert.Equal(t, http.StatusServiceUnavailable, refusals[0].Status)
}

func TestManifestsHaveABoundedNumberOfValues(t *testing.T) {
	image := func(layers int) string {
		return `{"schemaVersion":2,"layers":[` + strings.Repeat(`{},`, layers-1) + `{}]}`
	}
	for layers, status := range map[int]int{sparseregistry.MaxValues - 2: 201, sparseregistry.MaxValues - 1: 400} {
		behind := &spy{}
		answer := put(t, sparsetest.Serve(t, behind, requireAMD64), "/v2/app/manifests/v1", ociImage, image(layers))
		require.Equal(t, status, answer.Status)
		if status == http.StatusBadRequest {
			wantRefusal(t, answer, status, "MANIFEST_INVALID", "the manifest has more than 100000 JSON values")
			assert.Empty(t, behind.requests)
		}
	}
}

func TestAManifestThatCannotBeKeptIsAFault(t *testing.T) {
	behind := &spy{}
	client := sparsetest.ServeHandler(t, sparseregistry.Enforce(behind, sparseregistry.Options{Spool: filepath.Join(t.TempDir(), "absent")}))
	answer := put(t, client, "/v2/app/manifests/v1", ociIndex, sparse()+strings.Repeat(" ", 100_000))
	assert.Equal(t, http.StatusInternalServerError, answer.Status)
	require.Len(t, answer.Errors(), 1)
	assert.Contains(t, answer.Errors()[0].Message, "keeping the manifest until it is read: open ")
	assert.Empty(t, behind.requests)
}
