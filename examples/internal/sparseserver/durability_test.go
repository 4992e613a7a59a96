package sparseserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// storageVariable makes the test binary a server over that directory, which prints its address.
const storageVariable = "SPARSESERVER_TEST_STORAGE"

var requireAMD64 = sparseregistry.Policies{
	Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}},
}

// serveForParent is what the test binary does as a server: it serves until it is killed, or its
// parent is gone.
func serveForParent(storage string) {
	server, err := Start(Config{Address: "127.0.0.1:0", Storage: storage, Policies: requireAMD64, ManifestWait: time.Hour})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// A process is a server that can be killed.
type process struct {
	cmd    *exec.Cmd
	client *sparsetest.Client
}

func startProcess(t *testing.T, storage string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), storageVariable+"="+storage)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = stdin.Close() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return &process{cmd: cmd, client: sparsetest.NewClient(strings.TrimSpace(line))}
}

// kill ends the process as kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait() // says that it was killed
	p.client.CloseIdle()
}

// A ledger notes which tags were answered with 201.
type ledger struct {
	mu   sync.Mutex
	tags []pushed // guarded by mu
}

// pushed is a list that was accepted.
type pushed struct {
	tag     string
	fixture *imagetest.Fixture
}

func (l *ledger) add(p pushed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tags = append(l.tags, p)
}

func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tags)
}

const crashRepo = "crash/app"

// pushOn pushes images and sparse lists that require them, one after the other, until the server is
// gone. It returns a refusal, which there must be none of.
func pushOn(ctx context.Context, client *sparsetest.Client, worker, round int, l *ledger) error {
	for i := 0; ; i++ {
		name := fmt.Sprintf("r%d-w%d-i%d", round, worker, i)
		f := imagetest.New()
		f.Layer("layer", imagetest.Random(uint64(round)<<32|uint64(worker)<<16|uint64(i), 20_000))
		f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("layer"), imagetest.Annotation("name", name))
		f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Annotation("name", name))
		f.List("top", imagetest.Entries("amd64", "arm64"), imagetest.Annotation("name", name))
		if err := client.PushImage(ctx, f, crashRepo, "amd64"); err != nil {
			return notGone(err)
		}
		answer, err := client.TryPut(ctx, f, crashRepo, name, "top")
		switch {
		case err != nil:
			return notGone(err)
		case answer.Status != http.StatusCreated:
			return fmt.Errorf("PUT of %s: %d %s", name, answer.Status, answer.Body)
		}
		l.add(pushed{name, f})
	}
}

// notGone returns err unless it says that the connection broke.
func notGone(err error) error {
	if broken := (*url.Error)(nil); errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// check makes sure that an accepted list and its required child are there, to the byte, and the
// child's blobs.
func (p pushed) check(t *testing.T, client *sparsetest.Client) {
	t.Helper()
	for _, ref := range []string{p.tag, p.fixture.Digest("top").String()} {
		want, _ := p.fixture.Document("top")
		got := client.Get(t, http.MethodGet, crashRepo, ref)
		require.Equal(t, string(want), string(got.Body), "%s is torn or lost", p.tag)
	}
	want, _ := p.fixture.Document("amd64")
	got := client.Get(t, http.MethodGet, crashRepo, p.fixture.Digest("amd64").String())
	require.Equal(t, string(want), string(got.Body), "the required child of %s is torn or lost", p.tag)
	for _, d := range p.fixture.Blobs("amd64") {
		got := client.Do(t, http.MethodGet, "/v2/"+crashRepo+"/blobs/"+d.String(), nil, nil)
		require.Equal(t, d, digest.FromBytes(got.Body), "a blob of %s is torn or lost", p.tag)
	}
}

// start starts a server in this process until the test ends.
func start(t *testing.T, c Config) (*Server, *sparsetest.Client) {
	t.Helper()
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	if c.Storage == "" {
		c.Storage = t.TempDir()
	}
	server, err := Start(c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close() })
	return server, sparsetest.NewClient(server.URL())
}

// TestShutdownLosesNothing stops a server while lists are pushed to it: every push is either
// answered and kept, or not begun.
func TestShutdownLosesNothing(t *testing.T) {
	storage := t.TempDir()
	server, client := start(t, Config{Storage: storage, Policies: requireAMD64})
	var l ledger
	var wg sync.WaitGroup
	failures := make(chan error, 4)
	for worker := range 4 {
		wg.Go(func() { failures <- pushOn(t.Context(), client, worker, 0, &l) })
	}
	require.Eventually(t, func() bool {
		return l.size() >= 8
	}, time.Minute, time.Millisecond)
	require.NoError(t, server.Shutdown(t.Context()))
	wg.Wait()
	for range 4 {
		require.NoError(t, <-failures)
	}
	_, restarted := start(t, Config{Storage: storage, Policies: requireAMD64})
	for _, p := range l.tags {
		p.check(t, restarted)
	}
}

// TestShutdownWaitsForUploads stops a server while half of a blob is there: the other half is
// taken, and answered with 201.
func TestShutdownWaitsForUploads(t *testing.T) {
	storage := t.TempDir()
	server, client := start(t, Config{Storage: storage})
	content := bytes.Repeat([]byte("0123456789"), 100_000)
	location := startUpload(t, client)

	reader, writer := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut,
		server.URL()+location+"&digest="+digest.FromBytes(content).String(), reader)
	require.NoError(t, err)
	request.ContentLength = int64(len(content))
	request.Header.Set("Expect", "100-continue") // so that the body begins when the server reads it
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	answers := make(chan int, 1)
	go func() {
		answer, err := transport.RoundTrip(request)
		if err != nil {
			answers <- 0
			return
		}
		_ = answer.Body.Close()
		answers <- answer.StatusCode
	}()
	_, err = writer.Write(content[:500_000])
	require.NoError(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(context.Background()) }()
	<-server.Done() // takes no connections any more
	_, err = writer.Write(content[500_000:])
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	assert.Equal(t, http.StatusCreated, <-answers)
	require.NoError(t, <-stopped)

	_, restarted := start(t, Config{Storage: storage})
	answer := restarted.Do(t, http.MethodGet, "/v2/app/blobs/"+digest.FromBytes(content).String(), nil, nil)
	assert.Equal(t, digest.FromBytes(content), digest.FromBytes(answer.Body))
}

// startUpload returns the path and query where an upload goes on.
func startUpload(t *testing.T, client *sparsetest.Client) string {
	t.Helper()
	answer := client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil)
	require.Equal(t, http.StatusAccepted, answer.Status)
	u, err := url.Parse(answer.Header.Get("Location"))
	require.NoError(t, err)
	return u.RequestURI()
}

// TestShutdownGivesUp cuts off a request that takes longer than it is given.
func TestShutdownGivesUp(t *testing.T) {
	server, client := start(t, Config{})
	location := startUpload(t, client)
	reader, writer := io.Pipe()
	asked := make(chan struct{}) // closed when the server asks for the body, and so serves the request
	trace := &httptrace.ClientTrace{Got100Continue: func() { close(asked) }}
	done := make(chan error, 1)
	go func() {
		ctx := httptrace.WithClientTrace(t.Context(), trace)
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, server.URL()+location, reader)
		if err == nil {
			request.Header.Set("Expect", "100-continue")
			_, err = http.DefaultTransport.RoundTrip(request)
		}
		done <- err
	}()
	_, err := writer.Write([]byte("begun"))
	require.NoError(t, err)
	<-asked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = server.Shutdown(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "requests were cut off")
	require.NoError(t, writer.Close()) // net/http's client waits for the body before it says that the connection broke
	require.Error(t, <-done)
}

// TestUploadsGoOnAfterARestart sends a blob in two chunks to two servers over the same storage.
func TestUploadsGoOnAfterARestart(t *testing.T) {
	storage := t.TempDir()
	server, client := start(t, Config{Storage: storage})
	octets := http.Header{"Content-Type": {"application/octet-stream"}}
	answer := client.Do(t, http.MethodPatch, startUpload(t, client), octets, []byte("first,"))
	require.Equal(t, http.StatusAccepted, answer.Status)
	require.NoError(t, server.Shutdown(t.Context()))

	_, restarted := start(t, Config{Storage: storage})
	content := []byte("first,second")
	location := answer.Header.Get("Location") + "&digest=" + digest.FromBytes(content).String()
	answer = restarted.Do(t, http.MethodPut, location, octets, []byte("second"))
	require.Equal(t, http.StatusCreated, answer.Status, "%s", answer.Body)
	answer = restarted.Do(t, http.MethodGet, "/v2/app/blobs/"+digest.FromBytes(content).String(), nil, nil)
	assert.Equal(t, content, answer.Body)
}
