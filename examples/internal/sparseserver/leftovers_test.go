package sparseserver

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// sweepAfter removes leftovers as a server would that much later.
func sweepAfter(t *testing.T, l *leftovers, later time.Duration) {
	t.Helper()
	l.clock = clocktest.New(time.Now().Add(later))
	l.sweep(t.Context())
}

// TestUploadsThatNobodyGoesOnWith keeps uploads that are young, and those that a request is about.
func TestUploadsThatNobodyGoesOnWith(t *testing.T) {
	var log logBuffer
	server, client := start(t, Config{UploadAge: time.Hour, Log: log.logger()})
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	content := []byte("first,second")
	answer := client.Do(t, http.MethodPatch, startUpload(t, client), octets, content[:6])
	require.Equal(t, http.StatusAccepted, answer.Status)
	location := answer.Header.Get("Location")
	status := func() sparsetest.Answer { return client.Do(t, http.MethodGet, location, nil, nil) }

	l := newLeftovers(Config{Storage: server.room.storage, UploadAge: time.Hour, Log: log.logger()})
	sweepAfter(t, l, 59*time.Minute)
	require.Equal(t, http.StatusNoContent, status().Status)

	id := status().Header.Get("Docker-Upload-Uuid")
	require.NotEmpty(t, id)
	l.mark(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		sweepAfter(t, l, 2*time.Hour)
	})).ServeHTTP(nil, mustRequest(t, "/v2/app/blobs/uploads/"+id))
	require.Equal(t, http.StatusNoContent, status().Status, "a request is about it")
	assert.Empty(t, log.lines("leftovers"))

	sweepAfter(t, l, 2*time.Hour)
	assert.Equal(t, http.StatusNotFound, status().Status)
	require.Len(t, log.lines("leftovers"), 1)
	assert.Contains(t, log.lines("leftovers")[0], `level=INFO msg="leftovers have been removed from the storage" uploads=1 temporary_files=0 bytes=`)
	answer = client.Do(t, http.MethodPut, location+"&digest="+digest.FromBytes(content).String(), octets, content[6:])
	assert.Equal(t, http.StatusNotFound, answer.Status)
	rest, err := filepath.Glob(filepath.Join(server.room.storage, ".sparse-registry", "removed-*"))
	require.NoError(t, err)
	assert.Empty(t, rest)
}

func mustRequest(t *testing.T, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, path, nil)
	require.NoError(t, err)
	return r
}

// TestTemporaryFilesOfTheKilled removes files by their names and ages, and nothing that is stored.
func TestTemporaryFilesOfTheKilled(t *testing.T) {
	storage := t.TempDir()
	write := func(path string) string {
		path = filepath.Join(storage, "docker/registry/v2", path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("content"), 0o600))
		return path
	}
	const uuid = ".0195f0a2-1bf4-7310-a907-49898e7885e7.tmp"
	gone := []string{
		write("blobs/sha256/ab/abcd/data" + uuid),
		write("repositories/app/_manifests/tags/v1/current/link" + uuid),
	}
	stay := []string{
		write("blobs/sha256/ab/abcd/data"),
		write("repositories/app/_manifests/tags/v1.tmp/current/link"),
		write("repositories/app/_manifests/tags/v1" + uuid + "/current/link"), // a tag that looks like one
		write("repositories/b.tmp/_manifests/tags/v1/current/link"),
	}
	l := newLeftovers(Config{Storage: storage, TemporaryAge: time.Hour, Log: slog.New(slog.DiscardHandler)})
	sweepAfter(t, l, 59*time.Minute)
	for _, path := range append(gone, stay...) {
		assert.FileExists(t, path)
	}
	sweepAfter(t, l, 2*time.Hour)
	for _, path := range gone {
		assert.NoFileExists(t, path)
	}
	for _, path := range stay {
		assert.FileExists(t, path)
	}

	keep := write("blobs/sha256/ab/abcd/data" + uuid)
	sweepAfter(t, newLeftovers(Config{Storage: storage, Log: slog.New(slog.DiscardHandler)}), 1000*time.Hour)
	assert.FileExists(t, keep, "0 keeps everything")
}

// TestAStartRemovesLeftovers starts a server over what a killed one has left.
func TestAStartRemovesLeftovers(t *testing.T) {
	storage := t.TempDir()
	old := time.Now().Add(-48 * time.Hour)
	upload := filepath.Join(storage, "docker/registry/v2/repositories/app/_uploads/0195f0a2-1bf4-7310-a907-49898e7885e7")
	removed := filepath.Join(storage, ".sparse-registry/removed-1")
	for _, directory := range []string{upload, removed} {
		require.NoError(t, os.MkdirAll(directory, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(directory, "data"), []byte("content"), 0o600))
		require.NoError(t, os.Chtimes(filepath.Join(directory, "data"), old, old))
		require.NoError(t, os.Chtimes(directory, old, old))
	}
	start(t, Config{Storage: storage, UploadAge: time.Hour})
	require.Eventually(t, func() bool {
		_, err1 := os.Stat(upload)
		_, err2 := os.Stat(removed)
		return os.IsNotExist(err1) && os.IsNotExist(err2)
	}, time.Minute, time.Millisecond)
}
