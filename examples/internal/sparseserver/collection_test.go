package sparseserver

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// age makes everything in a storage two days old.
func age(t *testing.T, storage string) {
	t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, filepath.WalkDir(filepath.Join(storage, "docker"), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, old, old))
	}))
}

// socket is a path that is short enough for every system.
func socket(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	return filepath.Join(directory, "s")
}

func silent(registrygc.Progress) {}

// TestOnlineCollection collects by the control socket, and sees that clients have what they need.
func TestOnlineCollection(t *testing.T) {
	storage, control := t.TempDir(), socket(t)
	var log logBuffer
	server, client := start(t, Config{Storage: storage, Control: control, Policies: requireAMD64, Log: log.logger(), MetricsAddress: "127.0.0.1:0"})
	info, err := os.Stat(control)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	f := sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	client.Put(t, f, "app", "v1", "amd64")
	for _, content := range []string{"loose", "asked for", "mounted"} {
		require.NoError(t, client.PushBlob(t.Context(), "app", []byte(content)))
	}
	age(t, storage)
	blob := func(repository, content string) int {
		return client.Do(t, http.MethodHead, "/v2/"+repository+"/blobs/"+digest.FromString(content).String(), nil, nil).Status
	}
	require.Equal(t, http.StatusOK, blob("app", "asked for"))
	mount := "/v2/other/blobs/uploads/?from=app&mount=" + digest.FromString("mounted").String()
	require.Equal(t, http.StatusCreated, client.Do(t, http.MethodPost, mount, nil, nil).Status)

	o := registrygc.Options{Untagged: true, Grace: 24 * time.Hour}
	var progress []registrygc.Progress
	report, err := registrygc.Remote(t.Context(), control, registrystore.Holder(storage), o, func(p registrygc.Progress) { progress = append(progress, p) })
	require.NoError(t, err)
	assert.Equal(t, registrygc.Totals{Layers: 1, Blobs: 1, Bytes: 5}, report.Removed)
	assert.True(t, report.Online)
	assert.Equal(t, 24*time.Hour, report.Grace)
	require.NotEmpty(t, progress)
	assert.Zero(t, progress[0])
	assert.Equal(t, report.Removed, progress[len(progress)-1].Removed)
	assert.Equal(t, http.StatusNotFound, blob("app", "loose"))
	assert.Equal(t, http.StatusOK, blob("app", "asked for"))
	assert.Equal(t, http.StatusOK, blob("other", "mounted"))
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodHead, "app", "v1").Status)
	for _, d := range f.Blobs("amd64") {
		assert.Equal(t, http.StatusOK, client.Do(t, http.MethodHead, "/v2/app/blobs/"+d.String(), nil, nil).Status)
	}
	assert.Len(t, log.lines(`msg="garbage was collected" removed="0 manifests, 1 link to layers, 1 content of 5 B"`), 1)
	metrics := string(sparsetest.NewClient("http://"+server.MetricsAddress()).Do(t, http.MethodGet, "/metrics", nil, nil).Body)
	assert.Contains(t, metrics, "sparse_registry_gc_collections_total{result=\"ok\"} 1\n")
	assert.Contains(t, metrics, "sparse_registry_gc_removed_total{kind=\"content\"} 1\n")
	assert.Contains(t, metrics, "sparse_registry_gc_removed_bytes_total 5\n")

	_, err = registrygc.Remote(t.Context(), control, registrystore.Holder(storage), registrygc.Options{Grace: time.Hour}, silent)
	assert.EqualError(t, err, "the server does not collect: grace is 1h0m0s, and must be at least 2h0m0s while the server runs")
	_, err = registrygc.Remote(t.Context(), control, "the server of another storage", o, silent)
	assert.ErrorContains(t, err, "the server does not collect: it serves storage "+storage+", and another one is meant")
	require.NoError(t, server.Close())
	_, err = os.Lstat(control)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// TestNoCollectionBesideACache, which would not notice.
func TestNoCollectionBesideACache(t *testing.T) {
	storage, control := t.TempDir(), socket(t)
	start(t, Config{Storage: storage, Control: control, Distribution: &configuration.Configuration{Storage: configuration.Storage{
		"filesystem": {"rootdirectory": storage}, "cache": {"blobdescriptor": "inmemory"},
	}}})
	_, err := registrygc.Remote(t.Context(), control, registrystore.Holder(storage), registrygc.Options{Grace: 24 * time.Hour}, silent)
	assert.EqualError(t, err, "the server does not collect: distribution's cache of blob descriptors (storage.cache) would go on saying "+
		"that what is removed is there: stop the server first, or do without the cache")
}

// TestACloseEndsACollection, which cannot remove anything until whoever has told the server to
// collect has learnt that.
func TestACloseEndsACollection(t *testing.T) {
	storage, control := t.TempDir(), socket(t)
	server, client := start(t, Config{Storage: storage, Control: control})
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("loose")))
	age(t, storage)
	held := server.storage.Exclusive()
	closed := make(chan error, 1)
	_, err := registrygc.Remote(t.Context(), control, registrystore.Holder(storage), registrygc.Options{Grace: 24 * time.Hour}, func(registrygc.Progress) {
		go func() { closed <- server.Close() }()
	})
	require.ErrorContains(t, err, "the server ended before the collection")
	held()
	require.NoError(t, <-closed)
}

// TestAClientEndsACollection, and is not told that it was the server.
func TestAClientEndsACollection(t *testing.T) {
	storage, control := t.TempDir(), socket(t)
	server, client := start(t, Config{Storage: storage, Control: control})
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("loose")))
	age(t, storage)
	held := server.storage.Exclusive()
	defer held()
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := registrygc.Remote(ctx, control, registrystore.Holder(storage), registrygc.Options{Grace: 24 * time.Hour}, func(registrygc.Progress) {
		cancel(errors.New("interrupt signal received"))
	})
	assert.EqualError(t, err, "the collection was ended, and the server's log says what it had removed: interrupt signal received")
}

func TestControlSockets(t *testing.T) {
	storage := t.TempDir()
	left := socket(t)
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", left)
	require.NoError(t, err)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, listener.Close())
	server, _ := start(t, Config{Storage: storage, Control: left}) // one that a killed process has left
	_, err = Start(Config{Address: "127.0.0.1:0", Storage: t.TempDir(), Control: left})
	require.ErrorContains(t, err, "control socket: another process listens at "+left)
	_, err = os.Stat(left)
	require.NoError(t, err, "the first server's socket stays")
	require.NoError(t, server.Close())

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 50))
	for _, c := range []struct{ path, err string }{
		{file, "control socket: " + file + " is there, and is no socket"},
		{long, "control socket: listen unix " + long},
	} {
		_, err := Start(Config{Address: "127.0.0.1:0", Storage: storage, Control: c.path})
		assert.ErrorContains(t, err, c.err)
	}
	var log logBuffer
	start(t, Config{Storage: long, Log: log.logger()})
	assert.Len(t, log.lines("no control socket: garbage can be collected while the server is stopped only, unless --control names a place for it, with a short path"), 1)
}
