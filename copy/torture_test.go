//go:build linux

package copy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// What the tests of the files torture_*_test.go have in common. docs/reliability.md says what they do; each has a short form, a
// sample that is drawn anew for each seed, and a full one:
//
//	SPARSECOPY_TORTURE=full     the full form
//	SPARSECOPY_TORTURE_SEED=n   the seed of the sample, and of everything random; the default is the same always
//	SPARSECOPY_TORTURE_CASE=s   only the cases whose names contain s
//
// A failure names the command that repeats it.

// fullTorture says whether everything is to be tried, and not only a sample.
func fullTorture() bool { return os.Getenv("SPARSECOPY_TORTURE") == "full" }

// tortureCase is the part of names that limits what is tried, "" for no limit.
func tortureCase() string { return os.Getenv("SPARSECOPY_TORTURE_CASE") }

// tortureSeed is the seed of everything random.
func tortureSeed(t testing.TB) uint64 {
	t.Helper()
	text := os.Getenv("SPARSECOPY_TORTURE_SEED")
	if text == "" {
		return 20260522
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "SPARSECOPY_TORTURE_SEED")
	return seed
}

func seededRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// howToRepeat is the command that runs one case of a test again.
func howToRepeat(t testing.TB, seed uint64, name string) string {
	return fmt.Sprintf("SPARSECOPY_TORTURE=full SPARSECOPY_TORTURE_SEED=%d SPARSECOPY_TORTURE_CASE='%s' go test -count=1 -run '^%s$' ./copy",
		seed, name, strings.SplitN(t.Name(), "/", 2)[0])
}

// A peer is a registry whose port can be closed and opened again, and which loses nothing by that.
type peer struct {
	*registrytest.Registry
	host    string
	handler http.Handler
	mu      sync.Mutex
	server  *http.Server // nil while the port is closed; guarded by mu
}

// newPeer starts a registry. wrap, if not nil, stands in front of it.
func newPeer(t testing.TB, o registrytest.Options, wrap func(http.Handler) http.Handler) *peer {
	p := &peer{Registry: registrytest.NewHandler(o), host: "127.0.0.1:0"}
	p.handler = p.Registry
	if wrap != nil {
		p.handler = wrap(p.Registry)
	}
	require.NoError(t, p.open())
	return p
}

// startPeer is newPeer for a test, which closes it at its end.
func startPeer(t testing.TB, o registrytest.Options, wrap func(http.Handler) http.Handler) *peer {
	p := newPeer(t, o, wrap)
	t.Cleanup(p.close)
	return p
}

// open opens the port, unless it is open.
func (p *peer) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.host)
	for tries := 0; err != nil && tries < 100; tries++ { // somebody else may have it for a moment
		time.Sleep(10 * time.Millisecond)
		listener, err = net.Listen("tcp", p.host)
	}
	if err != nil {
		return err
	}
	p.host = listener.Addr().String()
	p.server = &http.Server{Handler: p.handler, ErrorLog: discardLog}
	go p.server.Serve(listener)
	return nil
}

// shut closes the port and breaks all connections.
func (p *peer) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

func (p *peer) close() {
	p.shut()
	p.Close()
}

func (p *peer) ref(t testing.TB, repo, tag string) types.ImageReference {
	t.Helper()
	named, err := reference.ParseNormalizedNamed(p.host + "/" + repo + ":" + tag)
	require.NoError(t, err)
	ref, err := docker.NewReference(named)
	require.NoError(t, err)
	return ref
}

// fill puts everything that another registry has into p.
func (p *peer) fill(from *registrytest.Registry) {
	for _, repo := range from.Repos() {
		for _, d := range from.Blobs(repo) {
			content, _ := from.Content(repo, d)
			p.PutContent(repo, content)
		}
		for _, d := range from.Manifests(repo) {
			b, mediaType, _ := from.Manifest(repo, d.String())
			p.PutManifest(repo, d.String(), mediaType, b)
		}
		for _, tag := range from.Tags(repo) {
			b, mediaType, _ := from.Manifest(repo, tag)
			p.PutManifest(repo, tag, mediaType, b)
		}
	}
}

// impatient is what copies of one run with o share: retries and timeouts as short as a test can afford.
func impatient(stall time.Duration, o Options) *Copier {
	return NewCopier(CopierOptions{
		MaxParallelDownloads: o.MaxParallelDownloads, StallTimeout: stall, BlobTimeout: stall, AnswerTimeout: stall,
		Retries: RetryPolicy{BaseDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	})
}

// complaints collects what a checker says.
type complaints []string

func (c *complaints) Helper() {}
func (c *complaints) Errorf(format string, args ...any) {
	*c = append(*c, fmt.Sprintf(format, args...))
}

// dirStore is a directory of the transport dir: as a place that the checker can inspect.
type dirStore string

func (s dirStore) read(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join(string(s), name))
	return b, err == nil
}

func (s dirStore) Top(string) (imagetest.Descriptor, error) {
	b, err := os.ReadFile(filepath.Join(string(s), "manifest.json"))
	return imagetest.Descriptor{Digest: digest.FromBytes(b), Size: int64(len(b)), MediaType: declaredType(b)}, err
}

func (s dirStore) Manifest(d digest.Digest) ([]byte, string, bool) {
	if b, ok := s.read("manifest.json"); ok && digest.FromBytes(b) == d {
		return b, "", true
	}
	b, ok := s.read(d.Encoded() + ".manifest.json")
	return b, "", ok
}

func declaredType(document []byte) string {
	var declared struct{ MediaType string }
	_ = json.Unmarshal(document, &declared) // what is no JSON declares nothing
	return declared.MediaType
}

// child is how the test binary is told to be something else; see TestMain.
const child = "SPARSECOPY_TORTURE_CHILD"

// childTask is what a child process does.
type childTask struct {
	Do                  string // "copy" or "files"
	Source, Destination string // in the form transport:reference
	Options             childOptions
	Files               filesTask
}

// childOptions are those of Options that children need.
type childOptions struct {
	All       bool
	Platforms []string
	Action    SparseManifestListAction
}

func (o childOptions) options() Options {
	if o.All {
		return Options{ImageListSelection: CopyAllImages, SparseManifestListAction: o.Action}
	}
	return Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(o.Platforms...), SparseManifestListAction: o.Action}
}

// command is the test binary as a child with a task.
func (c childTask) command(t testing.TB) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+string(text))
	return cmd
}

// runChild is the main function of a child.
func runChild(text string) int {
	var task childTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	e, stop := newChildEnv()
	defer stop()
	if task.Do == "files" {
		return task.Files.run(e)
	}
	o := task.Options.options()
	_, err := e.copier(o).Image(context.Background(), e.policy, parseName(task.Destination), parseName(task.Source), e.options(o))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// parseName parses transport:reference.
func parseName(name string) types.ImageReference {
	transport, rest, _ := strings.Cut(name, ":")
	for _, t := range []types.ImageTransport{docker.Transport, layout.Transport, directory.Transport, ociarchive.Transport} {
		if t.Name() == transport {
			ref, err := t.ParseReference(rest)
			if err != nil {
				panic(err)
			}
			return ref
		}
	}
	panic("transport " + transport)
}

// newChildEnv is newEnv without a test.
func newChildEnv() (*env, func()) {
	t := &childTB{}
	return newEnv(t), t.cleanup
}

// childTB stands in for a test in a child. Whatever fails ends the process.
type childTB struct {
	testing.TB
	cleanups []func()
}

func (t *childTB) Helper()          {}
func (t *childTB) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *childTB) FailNow()         { os.Exit(2) }
func (t *childTB) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (t *childTB) TempDir() string {
	dir, err := os.MkdirTemp("", "child")
	if err != nil {
		t.Errorf("%v", err)
		t.FailNow()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (t *childTB) cleanup() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

// TestMain makes the binary a child if it is to be one. Otherwise it runs the tests and fails if they have left goroutines or file
// descriptors behind.
func TestMain(m *testing.M) {
	if task := os.Getenv(child); task != "" {
		os.Exit(runChild(task))
	}
	os.Exit(hermetictest.Main(func() int {
		goroutines, files := theirGoroutines(), openFiles()
		status := m.Run()
		if status == 0 {
			if left := leaked(goroutines, files); left != "" {
				fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests of this package:\n%s\n", left)
				status = 1
			}
		}
		return status
	}))
}

// leakPatience is how long goroutines have to end: those of closed connections take a moment.
const leakPatience = 10 * time.Second

// leaked returns what there is now and was not before, "" if nothing.
func leaked(goroutines map[string]int, files map[string]bool) string {
	http.DefaultClient.CloseIdleConnections() // of tests that look at registries themselves
	var left string
	for deadline := time.Now().Add(leakPatience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var b strings.Builder
		for stack, n := range theirGoroutines() {
			if n > goroutines[stack] {
				fmt.Fprintf(&b, "%d goroutines:\n%s\n\n", n-goroutines[stack], stack)
			}
		}
		for name := range openFiles() {
			if !files[name] {
				fmt.Fprintf(&b, "file descriptor: %s\n", name)
			}
		}
		if left = b.String(); left == "" {
			return ""
		}
	}
	return left
}

var (
	stackAddresses = regexp.MustCompile(`(?m)\(0x[0-9a-f?, {}.x]*\)$|\(\.\.\.\)$|\(\{[^()]*\)$| \+0x[0-9a-f]+$| in goroutine \d+`)
	stackHeader    = regexp.MustCompile(`^goroutine \d+ \[[^\]]*\]:\n`)
)

// theirGoroutines returns the stacks of all goroutines but the one that asks, without addresses, and how often each occurs.
func theirGoroutines() map[string]int {
	buf := make([]byte, 64<<20)
	buf = buf[:runtime.Stack(buf, true)]
	stacks := map[string]int{}
	for i, stack := range bytes.Split(buf, []byte("\n\n")) {
		if i == 0 {
			continue
		}
		text := stackAddresses.ReplaceAllString(stackHeader.ReplaceAllString(string(stack), ""), "")
		if strings.Contains(text, "os/signal.loop") { // the runtime's own: it never ends
			continue
		}
		stacks[text]++
	}
	return stacks
}

// openFiles returns what the file descriptors of this process refer to; nothing where the system does not tell.
func openFiles() map[string]bool {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	open := map[string]bool{}
	for _, entry := range entries {
		if name, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && !strings.HasPrefix(name, "anon_inode:") {
			open[entry.Name()+" → "+name] = true
		}
	}
	return open
}

// dirRef and archiveRef are references of two transports.
func dirRef(t testing.TB, dir string) types.ImageReference {
	t.Helper()
	ref, err := directory.NewReference(dir)
	require.NoError(t, err)
	return ref
}

func archiveRef(t testing.TB, file, tag string) types.ImageReference {
	t.Helper()
	ref, err := ociarchive.NewReference(file, tag)
	require.NoError(t, err)
	return ref
}
