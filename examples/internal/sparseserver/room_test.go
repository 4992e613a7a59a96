package sparseserver

import (
	"errors"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// fill has a server believe that its disk has so many bytes left, from now on.
func fill(server *Server, time *clocktest.Fake, left int64) {
	server.room.mu.Lock()
	defer server.room.mu.Unlock()
	server.room.clock = time
	server.room.free = func(string) (int64, error) { return left, nil }
	server.room.looked = time.Now() // whenever that was by the other clock
	time.Advance(lookEvery)
}

// TestNoRoom fills the disk beyond what stays free: pushes are refused, and nothing else.
func TestNoRoom(t *testing.T) {
	var log logBuffer
	server, client := start(t, Config{MinFreeSpace: 1_000_000_000, Log: log.logger()})
	now := clocktest.New(time.Time{})
	fill(server, now, 1_000_000_000)
	f := sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	location := startUpload(t, client)
	ready := func() sparsetest.Answer { return client.Do(t, http.MethodGet, readyPath, nil, nil) }
	require.Equal(t, http.StatusOK, ready().Status)

	fill(server, now, 999_000_000)
	const why = "the registry's storage has 999 MB left, and keeps 1.0 GB free"
	answer := ready()
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
	assert.Equal(t, why+"\n", string(answer.Body))
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, healthPath, nil, nil).Status, "pulls go on")
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	for name, answer := range map[string]sparsetest.Answer{
		"begin an upload": client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil),
		"go on with one":  client.Do(t, http.MethodPatch, location, octets, []byte("content")),
		"a manifest":      client.Put(t, f, "app", "v2", "amd64"),
	} {
		assert.Equal(t, http.StatusInsufficientStorage, answer.Status, name)
		require.Len(t, answer.Errors(), 1, name)
		assert.Equal(t, "DENIED", answer.Errors()[0].Code, name)
		assert.Equal(t, why+": pulls go on", answer.Errors()[0].Message, name)
		assert.Equal(t, []string{apiVersionValue}, answer.Header.Values(apiVersion), name)
	}
	digest := f.Digest("amd64").String()
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", digest).Status)
	assert.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, sparsetest.ManifestPath("app", digest), nil, nil).Status)
	assert.Equal(t, http.StatusNoContent, client.Do(t, http.MethodDelete, location, nil, nil).Status)
	assert.Equal(t, []string{`level=ERROR msg="pushes are refused: ` + why + `" storage=` + server.room.storage}, log.lines("pushes are"))

	fill(server, now, 1_000_000_000)
	assert.Equal(t, http.StatusOK, ready().Status)
	assert.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v2", "amd64").Status)
	assert.Len(t, log.lines("pushes are taken again"), 1)
}

// TestTheDiskIsAskedOnceASecond counts what many requests cost.
func TestTheDiskIsAskedOnceASecond(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, registrystore.OwnDirectory), 0o700))
	now := clocktest.New(time.Time{})
	asked := 0
	m := newRoom(dir, 1, (&logBuffer{}).logger())
	m.clock = now
	m.free = func(string) (int64, error) { asked++; return littleRoom, nil }
	for range 3 {
		assert.Empty(t, m.why())
	}
	assert.Equal(t, 1, asked)
	now.Advance(lookEvery)
	assert.Empty(t, m.why())
	assert.Equal(t, 2, asked)
	assert.Empty(t, m.whyNow(0))
	assert.Equal(t, 3, asked)
}

func TestAStorageThatCannotBeWrittenTo(t *testing.T) {
	server, client := start(t, Config{})
	path := filepath.Join(server.room.storage, registrystore.OwnDirectory, "probe")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "inside"), 0o700)) // where a file should be
	fill(server, clocktest.New(time.Time{}), 1)
	for _, path := range []string{healthPath, readyPath} {
		answer := client.Do(t, http.MethodGet, path, nil, nil)
		assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
		assert.Equal(t, "the registry's storage cannot be written to: is a directory\n", string(answer.Body))
	}
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, livePath, nil, nil).Status, "a new start would not mend it")
	assert.Equal(t, http.StatusInsufficientStorage, client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil).Status)
	answer := client.Do(t, http.MethodGet, "/v2/app/tags/list", nil, nil)
	assert.Equal(t, http.StatusNotFound, answer.Status)

	m := newRoom(server.room.storage, 0, server.room.log)
	m.free = func(string) (int64, error) {
		return 0, &fs.PathError{Op: "statfs", Path: "/secret", Err: errors.New("it is gone")}
	}
	require.NoError(t, os.RemoveAll(path))
	assert.Equal(t, "the registry's storage does not say how much space it has: it is gone", m.why())
}

// TestAStorageOfSomebodyElse, but for its top: as after a chown that was not for all of it.
func TestAStorageOfSomebodyElse(t *testing.T) {
	server, client := start(t, Config{})
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("content")))
	fill(server, clocktest.New(time.Time{}), 1)
	asked := map[string]bool{}
	server.room.mu.Lock()
	server.room.may = func(directory string) error {
		asked[directory] = true
		if filepath.Base(directory) == "repositories" {
			return syscall.EACCES
		}
		return mayWrite(directory)
	}
	server.room.mu.Unlock()
	answer := client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil)
	assert.Equal(t, http.StatusInsufficientStorage, answer.Status)
	require.Len(t, answer.Errors(), 1)
	assert.Equal(t, "the registry's storage cannot be written to: permission denied: pulls go on", answer.Errors()[0].Message)
	assert.Equal(t, http.StatusServiceUnavailable, client.Do(t, http.MethodGet, healthPath, nil, nil).Status)
	for directory := range asked {
		assert.DirExists(t, directory)
	}
	assert.Len(t, asked, 2)
}

func TestAReadOnlyRegistryNeedsNoRoom(t *testing.T) {
	_, client := start(t, Config{ReadOnly: true, MinFreeSpace: math.MaxInt64})
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, readyPath, nil, nil).Status)
}

// TestADiskThatIsFullAfterAll has the disk fill up while a blob arrives: it goes to /dev/full.
func TestADiskThatIsFullAfterAll(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /dev/full")
	}
	var log logBuffer
	server, client := start(t, Config{Log: log.logger()})
	location := startUpload(t, client)
	uploads := filepath.Join(server.room.storage, "docker/registry/v2/repositories/app/_uploads")
	ids, err := os.ReadDir(uploads)
	require.NoError(t, err)
	require.Len(t, ids, 1)
	data := filepath.Join(uploads, ids[0].Name(), "data")
	_ = os.Remove(data)
	require.NoError(t, os.Symlink("/dev/full", data))

	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	content := []byte(strings.Repeat("0123456789", 10_000))
	answer := client.Do(t, http.MethodPatch, location, octets, content)
	assert.Equal(t, http.StatusInternalServerError, answer.Status, "it is not the storage, as far as that can be seen")

	now := clocktest.New(time.Time{})
	fill(server, now, 2_000_000)
	answer = client.Do(t, http.MethodPatch, location, octets, []byte(strings.Repeat("0123456789", 300_000)))
	assert.Equal(t, http.StatusInsufficientStorage, answer.Status, "some bytes are free, and those that came are more")
	require.Len(t, answer.Errors(), 1, "%s", answer.Body)
	assert.Equal(t, "the registry's storage has 2.0 MB left: pulls go on", answer.Errors()[0].Message)
	answer = client.Do(t, http.MethodPatch, location, octets, content)
	assert.Equal(t, http.StatusInternalServerError, answer.Status, "these would have had room")

	fill(server, now, 5)
	require.Empty(t, server.room.why())
	server.room.mu.Lock()
	server.room.free = func(string) (int64, error) { return 0, &fs.PathError{Op: "write", Err: syscall.ENOSPC} }
	server.room.mu.Unlock()
	answer = client.Do(t, http.MethodPatch, location, octets, content)
	assert.Equal(t, http.StatusInsufficientStorage, answer.Status)
	require.Len(t, answer.Errors(), 1, "%s", answer.Body)
	assert.Equal(t, "the registry's storage does not say how much space it has: no space left on device: pulls go on", answer.Errors()[0].Message)
	require.Eventually(t, func() bool { return len(log.lines("status=507")) == 2 }, time.Minute, time.Millisecond)
	assert.Contains(t, log.lines("status=507")[1], "no space left on device")
}
