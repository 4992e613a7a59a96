package storagetorture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/audit"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrygc"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// grace is that of all collections. What time has passed over is twice as old.
const grace = 24 * time.Hour

// storageVariable makes the test binary a server over that directory, which prints its address.
const storageVariable = "STORAGETORTURE_SERVE"

var lenient = sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true}}

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	if storage := os.Getenv(storageVariable); storage != "" {
		serveForParent(storage)
	}
	if task := os.Getenv(taskVariable); task != "" {
		doForParent(task)
	}
	os.Exit(hermetictest.Main(m.Run))
}

// serveForParent is what the test binary does as a server: it serves until it is killed, or its
// parent is gone.
func serveForParent(storage string) {
	server, err := sparseserver.Start(config(storage))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func config(storage string) sparseserver.Config {
	return sparseserver.Config{Address: "127.0.0.1:0", Storage: storage, Policies: lenient}
}

// A world is a storage, a server over it, and a client of that.
type world struct {
	t       *testing.T
	storage string
	store   *registrystore.Store
	client  *sparsetest.Client
	stop    func() // ends the server, so that another one can be started
}

// newWorld starts a server, in a process of its own if it is to be killed.
func newWorld(t *testing.T, killed bool) *world {
	t.Helper()
	w := &world{t: t, storage: shortDirectory(t)}
	w.start(killed)
	t.Cleanup(func() { w.stop() })
	var err error
	w.store, err = registrystore.OpenDirectory(w.storage)
	require.NoError(t, err)
	return w
}

// shortDirectory is a directory whose name does not have the test's: servers make a socket below
// it, the path of which may not be long.
func shortDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(directory)) })
	return directory
}

func (w *world) start(killed bool) {
	w.t.Helper()
	if killed {
		w.startProcess()
		return
	}
	server, err := sparseserver.Start(config(w.storage))
	require.NoError(w.t, err)
	w.client = sparsetest.NewClient(server.URL())
	w.stop = func() {
		w.client.CloseIdle()
		require.NoError(w.t, server.Close())
	}
}

func (w *world) startProcess() {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), storageVariable+"="+w.storage)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(w.t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(w.t, err)
	w.client = sparsetest.NewClient(strings.TrimSpace(line))
	w.stop = func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
		w.client.CloseIdle()
	}
}

// timePasses makes everything in the storage older than grace.
func (w *world) timePasses() {
	w.t.Helper()
	long := time.Now().Add(-2 * grace)
	require.NoError(w.t, filepath.WalkDir(w.storage, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, long, long)
	}))
}

// collect collects with store, which may be one that ends.
func collect(ctx context.Context, store *registrystore.Store, untagged bool) (registrygc.Totals, error) {
	report, err := registrygc.Collect(ctx, store, registrygc.Options{Untagged: untagged, Grace: grace}, clock.System)
	switch {
	case err != nil:
		return registrygc.Totals{}, err
	case len(report.Damage) > 0:
		return registrygc.Totals{}, fmt.Errorf("collecting: %v is damaged", report.Damage)
	}
	return report.Removed, nil
}

// check returns what a check finds.
func (w *world) check() []audit.Finding {
	w.t.Helper()
	report, err := audit.Check(w.t.Context(), w.store, audit.Options{Policies: lenient, Wait: func(context.Context) error { return nil }})
	require.NoError(w.t, err)
	return report.Findings
}

// observe reads what a storage has as a model, which knows the documents that are there.
func (w *world) observe(names []string) *model {
	w.t.Helper()
	m := newModel(names)
	young := func(modified time.Time) bool { return time.Since(modified) < grace }
	ctx := w.t.Context()
	require.NoError(w.t, w.store.Repositories(ctx, func(name string) error {
		r := m.repositories[name]
		require.NotNil(w.t, r, name)
		return errors.Join(
			w.store.Tags(ctx, name, func(t registrystore.Tag) error { r.tags[t.Name] = t.Digest; return nil }),
			w.store.Revisions(ctx, name, func(l registrystore.Link) error {
				r.manifests[l.Digest], m.documents[l.Digest] = young(l.Modified), w.readDocument(l.Digest)
				return nil
			}),
			w.store.Layers(ctx, name, func(l registrystore.Link) error { r.layers[l.Digest] = young(l.Modified); return nil }),
			w.store.Referrers(ctx, name, func(l registrystore.Referrer) error {
				r.referrers[referral{l.Subject, l.Referrer}] = young(l.Modified)
				return nil
			}),
		)
	}))
	require.NoError(w.t, w.store.Blobs(ctx, func(b registrystore.Blob) error { m.contents[b.Digest] = young(b.Modified); return nil }))
	return m
}

// readDocument reads a manifest that is there.
func (w *world) readDocument(d digest.Digest) document {
	w.t.Helper()
	body, err := w.store.ReadBlob(w.t.Context(), d, manifest.MaxSize)
	require.NoError(w.t, err)
	read, err := readDocument(body)
	require.NoError(w.t, err)
	return read
}

func blobPath(repo string, d digest.Digest) string { return "/v2/" + repo + "/blobs/" + d.String() }
