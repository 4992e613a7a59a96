package registrycmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// gc runs sparse-registry gc.
func gc(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	cmd := command(nil, io.Discard)
	var b bytes.Buffer
	cmd.SetOut(&b)
	cmd.SetArgs(append([]string{"gc"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return b.String(), err
}

// pushed is a storage with an image, tagged, and a blob that nothing names, both pushed two days
// ago.
func pushed(t *testing.T) (storage string, loose digest.Digest) {
	t.Helper()
	storage = t.TempDir()
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: storage})
	require.NoError(t, err)
	client, f := sparsetest.NewClient(server.URL()), sparsetest.Fixture(false)
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	client.Put(t, f, "app", "v1", "amd64")
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("loose")))
	require.NoError(t, server.Close())
	old := time.Now().Add(-48 * time.Hour)
	require.NoError(t, filepath.WalkDir(storage, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, old, old))
	}))
	return storage, digest.FromString("loose")
}

func TestGC(t *testing.T) {
	storage, loose := pushed(t)
	store, err := registrystore.OpenDirectory(storage)
	require.NoError(t, err)
	isThere := func() bool {
		_, err := store.StatBlob(t.Context(), loose)
		return err == nil
	}

	out, err := gc(t, "--storage", storage)
	require.NoError(t, err)
	assert.Contains(t, out, "content "+loose.String()+": 5 B, no repository needs it\n")
	assert.Contains(t, out, "This was a dry run, nothing is removed. --delete does it.\n")
	assert.True(t, isThere())
	out, err = gc(t, "--storage", storage, "--grace", "72h", "--delete")
	require.NoError(t, err)
	assert.Contains(t, out, "removed: 0 manifests, 0 links to layers, 0 contents of 0 B")
	out, err = gc(t, "--storage", storage, "--delete", "--untagged", "--output=json")
	require.NoError(t, err)
	var report registrygc.Report
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	assert.Equal(t, registrygc.Totals{Layers: 1, Blobs: 1, Bytes: 5}, report.Removed)
	assert.Equal(t, storage, report.Storage)
	assert.False(t, isThere())

	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: storage})
	require.NoError(t, err, "the lock is free again")
	defer server.Close()
	client, f := sparsetest.NewClient(server.URL()), sparsetest.Fixture(false)
	for _, d := range f.Blobs("amd64") {
		assert.Equal(t, 200, client.Do(t, "HEAD", "/v2/app/blobs/"+d.String(), nil, nil).Status)
	}
}

// TestGCNeedsTheLock, but not for a dry run. Who has it without being a server is in its way.
func TestGCNeedsTheLock(t *testing.T) {
	storage, _ := pushed(t)
	lock, err := registrystore.TakeLock(storage, "somebody")
	require.NoError(t, err)
	_, err = gc(t, "--storage", storage, "--delete")
	var locked *registrystore.LockedError
	require.ErrorAs(t, err, &locked)
	assert.ErrorContains(t, err, "nobody collects at its control socket (--control): dial unix "+sparseserver.ControlSocket(storage)+": connect: no such file")
	assert.Equal(t, statusFailed, statusOf(err))
	_, err = gc(t, "--storage", storage)
	require.NoError(t, err)
	require.NoError(t, lock.Release())
}

// TestGCHasTheServerDoIt, if there is one.
func TestGCHasTheServerDoIt(t *testing.T) {
	storage, loose := pushed(t)
	directory, err := os.MkdirTemp("", "") // sockets have short paths
	require.NoError(t, err)
	defer os.RemoveAll(directory)
	control := filepath.Join(directory, "s")
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: storage, Control: control})
	require.NoError(t, err)
	defer server.Close()
	out, err := gc(t, "--storage", storage, "--control", control, "--delete")
	require.NoError(t, err)
	assert.Contains(t, out, "content "+loose.String()+": 5 B, no repository needs it\n")
	assert.Contains(t, out, "removed: 0 manifests, 1 link to layers, 1 content of 5 B")
	_, err = gc(t, "--storage", storage, "--control", control, "--delete", "--grace=1m")
	assert.EqualError(t, err, "the server does not collect: grace is 1m0s, and must be at least 2h0m0s while the server runs")
}

func TestGCOfADamagedStorage(t *testing.T) {
	storage, _ := pushed(t)
	store, err := registrystore.OpenDirectory(storage)
	require.NoError(t, err)
	require.NoError(t, store.RemoveBlob(t.Context(), sparsetest.Fixture(false).Digest("amd64")))
	out, err := gc(t, "--storage", storage, "--delete")
	assert.EqualError(t, err, "storage "+storage+" is damaged: see what stays for it")
	assert.Equal(t, statusDamaged, statusOf(err))
	assert.True(t, strings.HasPrefix(out, "DAMAGED app: manifest sha256:"), out)
}

// TestGCWithoutALock: only the operator knows that nobody writes to an object store.
func TestGCWithoutALock(t *testing.T) {
	store := registrystore.New(inmemory.New())
	c := collection{remove: true, output: "text"}
	assert.EqualError(t, c.refuse(options{}, store),
		"nothing keeps others from writing to storage inmemory: stop every server that uses it, and say so with --nobody-writes")
	c.alone = true
	require.NoError(t, c.refuse(options{}, store))
	var out bytes.Buffer
	require.NoError(t, c.run(t.Context(), store, &out, io.Discard))
	assert.Contains(t, out.String(), "removed: 0 manifests")
}

func TestGCDoesNotLeaveACacheBehind(t *testing.T) {
	storage, _ := pushed(t)
	file := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(file, []byte("version: 0.1\nstorage:\n  filesystem: {rootdirectory: "+storage+"}\n"+
		"  cache: {blobdescriptor: redis}\nredis:\n  addrs: [127.0.0.1:1]\n"), 0o600))
	_, err := gc(t, "--distribution-config", file)
	require.NoError(t, err)
	_, err = gc(t, "--distribution-config", file, "--delete")
	assert.ErrorContains(t, err, "storage.cache is redis, which would go on saying that what is removed is there: ")
	assert.Equal(t, statusMisused, statusOf(err))
}

func TestGCRefusesMisuse(t *testing.T) {
	for _, c := range []struct {
		err  string
		args []string
	}{
		{"no storage directory", nil},
		{"opening the storage: stat /does/not/exist", []string{"--storage=/does/not/exist"}},
		{"flag --grace: -1h0m0s is negative", []string{"--storage=/", "--grace=-1h"}},
		{`flag --output: "xml" is neither text nor json`, []string{"--storage=/", "--output=xml"}},
		{"unknown flag: --dry-run", []string{"--dry-run"}},
		{`unexpected argument "now": sparse-registry gc takes flags only`, []string{"now"}},
		{"is no storage: no registry has ever used it", []string{"--storage=" + t.TempDir(), "--delete"}},
	} {
		_, err := gc(t, c.args...)
		assert.ErrorContains(t, err, c.err)
		assert.Equal(t, statusMisused, statusOf(err), c.err)
	}
}

// TestGCRefusesAWordForNothing, since somebody thinks that it does something.
func TestGCRefusesAWordForNothing(t *testing.T) {
	storage, _ := pushed(t)
	_, err := gc(t, "--storage", storage, "--nobody-writes")
	assert.ErrorContains(t, err, "--nobody-writes means nothing without --delete")
	assert.Equal(t, statusMisused, statusOf(err))
	_, err = gc(t, "--storage", storage, "--nobody-writes", "--delete")
	assert.ErrorContains(t, err, "--nobody-writes means nothing for a directory")
	assert.Equal(t, statusMisused, statusOf(err))
}
