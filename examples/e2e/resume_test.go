package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// kills are what the processes go through that TestTortureResume kills.
type kills struct {
	size  int64    // of the layer
	each  int      // how many are killed, at each registry
	flags []string // of all processes
	seed  uint64
}

// killsToday are those of the full form; or of the short one, whose layer is so small that what
// ranges read ahead would be too much of it.
func killsToday(t *testing.T) kills {
	k := kills{size: 256 << 20, each: 2, flags: []string{"--no-ranges"}, seed: 20261130}
	if os.Getenv("SPARSECOPY_TORTURE") == "full" {
		k.size, k.each, k.flags = 1<<30, 25, nil
	}
	if text := os.Getenv("SPARSECOPY_TORTURE_SEED"); text != "" {
		var err error
		k.seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	return k
}

// TestTortureResume kills processes that copy a large layer with --resume-dir, each when the
// destination has received some part of it, which is drawn by lot. The next process completes the
// copy. At either side, no more than 15 % of the bytes may travel twice.
func TestTortureResume(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	programs, k := build(t), killsToday(t)
	layer := registrytest.Seeded(k.seed, k.size)
	rng := rand.New(rand.NewPCG(k.seed, 0))
	for _, destination := range []struct {
		name string
		make func(*testing.T) http.Handler
	}{{"distribution", distribution}, {"test registry", testRegistry}} {
		for i := range k.each {
			after := rng.Int64N(k.size)
			t.Run(fmt.Sprintf("%s/%d of seed %d", destination.name, i, k.seed), func(t *testing.T) {
				source := registrytest.NewHandler(registrytest.Options{})
				manifest := pushLayer(t, source, layer)
				r := &resumption{
					t: t, program: filepath.Join(programs, "mirror"), dir: filepath.Join(t.TempDir(), "resume"), flags: k.flags, size: k.size,
					from: serveCounted(t, source), to: serveCounted(t, destination.make(t)),
				}
				r.play(after, manifest, layer)
			})
		}
	}
}

// distribution is the registry of that name.
func distribution(t *testing.T) http.Handler {
	config := &configuration.Configuration{Storage: configuration.Storage{"filesystem": {"rootdirectory": t.TempDir()}}}
	config.HTTP.Secret = "secret"
	app := handlers.NewApp(t.Context(), config)
	t.Cleanup(func() { _ = app.Shutdown() })
	return app
}

func testRegistry(*testing.T) http.Handler {
	return registrytest.NewHandler(registrytest.Options{MovingUploads: true, DiscardBlobs: true})
}

// pushLayer puts an image with one layer into a registry, and returns its manifest.
func pushLayer(t *testing.T, r *registrytest.Registry, layer registrytest.Content) []byte {
	t.Helper()
	config := registrytest.Bytes([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + layer.Digest.String() + `"]}}`))
	r.PutContent(repo, config)
	r.PutContent(repo, layer)
	manifest, err := json.Marshal(imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		Config: imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig, Digest: config.Digest, Size: config.Size},
		Layers: []imgspecv1.Descriptor{{MediaType: imgspecv1.MediaTypeImageLayerGzip, Digest: layer.Digest, Size: layer.Size}},
	})
	require.NoError(t, err)
	r.PutManifest(repo, tag, imgspecv1.MediaTypeImageManifest, manifest)
	return manifest
}

// A resumption is a copy whose process is killed, and that the next one completes.
type resumption struct {
	t        *testing.T
	program  string
	flags    []string
	dir      string // of --resume-dir
	size     int64  // of the layer
	from, to *counted
}

// play kills a process when the destination has received so many bytes, and lets another one go on.
func (r *resumption) play(after int64, manifest []byte, layer registrytest.Content) {
	r.t.Helper()
	first := r.process()
	started := make(chan struct{})
	r.to.at(after, func() {
		<-started
		_ = first.Process.Kill()
	})
	require.NoError(r.t, first.Start())
	close(started)
	_ = first.Wait() // it was killed
	require.False(r.t, first.ProcessState.Exited(), "it has ended before it could be killed: %v", first.ProcessState)

	var report copy.Report
	stdout, err := r.process().Output()
	require.NoError(r.t, err)
	require.NoError(r.t, json.Unmarshal(stdout, &report))
	var stored bytes.Buffer
	r.to.get("manifests/"+tag, &stored)
	assert.Equal(r.t, string(manifest), stored.String())
	twiceRead, twiceSent := r.from.out.Load()-r.size, r.to.in.Load()-r.size
	for what, bytes := range map[string]int64{"read": twiceRead, "sent": twiceSent} {
		assert.LessOrEqual(r.t, bytes, r.size*15/100, "%s twice, after a kill at %d", what, after)
	}
	r.t.Logf("killed after %3d MiB: %3d MiB read twice, %3d MiB sent twice, %d resumed, %d begun anew",
		after>>20, twiceRead>>20, twiceSent>>20, report.Destination.Resumed, report.Destination.BegunAnew)
	if report.Destination.Resumed+report.Destination.BegunAnew == 0 {
		assert.Less(r.t, after, int64(16<<20), "nothing was remembered")
	}
	if _, discards := r.to.registry.(*registrytest.Registry); !discards { // that has verified what it throws away
		verifier := layer.Digest.Verifier()
		r.to.get("blobs/"+layer.Digest.String(), verifier)
		assert.True(r.t, verifier.Verified(), "the layer is not whole")
	}
	left, err := os.ReadDir(r.dir)
	require.NoError(r.t, err)
	assert.Empty(r.t, left)
}

// process is one that copies.
func (r *resumption) process() *exec.Cmd {
	args := append([]string{
		"copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--src-no-creds", "--dest-no-creds", "--no-cache",
		"--output", "json", "--resume-dir", r.dir,
	}, r.flags...)
	cmd := exec.CommandContext(r.t.Context(), r.program, append(args, r.from.ref(), r.to.ref())...)
	cmd.Stderr = os.Stderr
	return cmd
}

// A counted registry counts the content of blobs that comes and goes.
type counted struct {
	registry http.Handler
	server   *httptest.Server
	in, out  atomic.Int64
	watch    atomic.Pointer[watch]
}

// A watch calls then once so many bytes have come in.
type watch struct {
	bytes int64
	then  func()
}

func serveCounted(t *testing.T, registry http.Handler) *counted {
	c := &counted{registry: registry}
	c.server = httptest.NewServer(c)
	t.Cleanup(c.server.Close)
	return c
}

func (c *counted) ref() string {
	return "docker://" + c.server.Listener.Addr().String() + "/" + repo + ":" + tag
}

// at calls then once so many bytes have come in.
func (c *counted) at(bytes int64, then func()) { c.watch.Store(&watch{bytes, then}) }

func (c *counted) received(n int) {
	total := c.in.Add(int64(n))
	if w := c.watch.Load(); w != nil && total >= w.bytes && c.watch.CompareAndSwap(w, nil) {
		w.then()
	}
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.URL.Path, "/blobs/") {
		r.Body = &countedBody{r.Body, c}
		w = &countedAnswer{w, c}
	}
	c.registry.ServeHTTP(w, r)
}

type countedBody struct {
	io.ReadCloser
	registry *counted
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.registry.received(n)
	return n, err
}

type countedAnswer struct {
	http.ResponseWriter
	registry *counted
}

func (a *countedAnswer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.registry.out.Add(int64(n))
	return n, err
}

func (a *countedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// get writes what the registry itself answers, which is not counted.
func (c *counted) get(path string, into io.Writer) {
	request := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/v2/%s/%s", repo, path), nil)
	request.Header.Set("Accept", imgspecv1.MediaTypeImageManifest)
	c.registry.ServeHTTP(&answer{into: into, header: http.Header{}}, request)
}

// An answer is one whose body goes somewhere.
type answer struct {
	into   io.Writer
	header http.Header
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(int)             {}
func (a *answer) Write(p []byte) (int, error) { return a.into.Write(p) }
