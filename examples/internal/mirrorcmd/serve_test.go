package mirrorcmd

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// A serveTest is a server, with the registries and the file of a syncTest. Its time stands still
// until pass is called.
type serveTest struct {
	*syncTest
	clock  *clocktest.Fake
	client *http.Client
	url    string
	stop   context.CancelFunc
	ended  chan int // gets the exit status

	pushed int64

	mu  sync.Mutex
	log []map[string]any
	new chan struct{} // closed, and replaced, when log grows
}

func newServeTest(t *testing.T) *serveTest {
	return &serveTest{
		syncTest: newSyncTest(t, registrytest.Options{}, registrytest.Options{}), clock: clocktest.New(time.Time{}), client: http.DefaultClient,
		ended: make(chan int, 1), new: make(chan struct{}),
	}
}

// stateFile is the one of the server.
func (s *serveTest) stateFile() string { return filepath.Join(filepath.Dir(s.file), "mirror.state") }

// begin starts the server, and returns when it serves. It is stopped with the test.
func (s *serveTest) begin(args ...string) {
	s.Helper()
	hermetictest.Home(s.T)
	ctx, stop := context.WithCancel(s.Context())
	s.stop = stop
	out, in := io.Pipe()
	var reading sync.WaitGroup
	reading.Go(func() { s.read(out) })
	e := &environment{ctx: ctx, stdin: strings.NewReader(""), stdout: io.Discard, stderr: &lockedWriter{w: in}, getenv: os.Getenv, clock: s.clock}
	all := append([]string{
		"serve", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false", "--log-format", "json",
		"--state-dir", s.state, "--state", s.stateFile(), "--listen", "127.0.0.1:0", s.file,
	}, args...)
	go func() {
		status := e.run(all)
		_ = in.Close()
		reading.Wait()
		s.ended <- status
	}()
	s.url, _ = s.wait("serving", 1)["url"].(string)
	s.Cleanup(func() { s.end() })
}

// end stops the server, and returns the exit status. All that was logged has been read then.
func (s *serveTest) end() int {
	s.stop()
	status := <-s.ended
	s.ended <- status
	return status
}

// read keeps what is logged.
func (s *serveTest) read(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		entry := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			entry["msg"] = lines.Text()
		}
		s.mu.Lock()
		s.log = append(s.log, entry)
		close(s.new)
		s.new = make(chan struct{})
		s.mu.Unlock()
	}
}

// patience is how long is waited for what happens. Only what never happens takes so long.
const patience = 10 * time.Minute

// wait returns the last of n entries of the log with a message, when there are so many.
func (s *serveTest) wait(message string, n int) map[string]any {
	s.Helper()
	tooLong := time.After(patience)
	for {
		s.mu.Lock()
		log, grown := s.log, s.new
		s.mu.Unlock()
		found := 0
		for _, entry := range log {
			if entry["msg"] == message {
				if found++; found == n {
					return entry
				}
			}
		}
		select {
		case <-grown:
		case status := <-s.ended:
			s.ended <- status // for who ends it
			require.FailNow(s, "the server has ended", "status %d, log %v", status, log)
		case <-tooLong:
			require.FailNow(s, "it is not logged", "%q, %d times; log %v", message, n, log)
		}
	}
}

// pass lets time pass when both who look at the clock wait for it: the engine, and who looks after
// the server.
func (s *serveTest) pass(d time.Duration) {
	s.Helper()
	require.NoError(s, s.clock.WaitForSleepers(s.Context(), 2))
	s.clock.Advance(d)
}

// get returns the status and the body of an answer.
func (s *serveTest) get(path string) (int, string) {
	s.Helper()
	return s.request(http.MethodGet, path, "", "")
}

func (s *serveTest) request(method, path, token, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	require.NoError(s, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(s, err)
	return resp.StatusCode, string(answer)
}

// push puts a new image of so many platforms to a tag of the source.
func (s *serveTest) push(repository, tag string, platforms int) {
	s.pushed++
	imagetest.Platforms(platforms, 1, 100+s.pushed).PushTo(s.src, repository, tag, imagetest.Top)
}

// same demands that the destination's tag names what the source's does.
func (s *serveTest) same(source, destination, tag string) {
	s.Helper()
	want, ok := s.src.Resolve(source, tag)
	require.True(s, ok)
	got, _ := s.dst.Resolve(destination, tag)
	assert.Equal(s, want, got, "%s:%s", destination, tag)
}

// pulls counts manifests that the source has handed out.
func (s *serveTest) pulls() int {
	return s.src.Count(func(q registrytest.Request) bool {
		return q.Kind == registrytest.KindManifest && q.Method == http.MethodGet
	})
}

const servedFile = `
defaults: {destination: 'DST/m/{name}', every: 1h}
images:
- source: SRC/a:1
- source: SRC/b
  tags: ["v*"]
`

func TestServe(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 2)
	s.push("b", "v1", 2)
	s.push("b", "other", 2)
	s.write(servedFile)
	s.begin()
	s.wait("copied", 2)
	s.same("a", "m/a", "1")
	s.same("b", "m/b", "v1")
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		status, body := s.get(path)
		assert.Equal(t, 200, status)
		assert.Equal(t, want, body)
	}
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, "mirror_images{status=\"mirrored\"} 2\n")
	assert.Contains(t, metrics, fmt.Sprintf("mirror_image_last_success_timestamp_seconds{destination=\"docker://%s/m/a:1\"} %v\n", s.dst.Host(), float64(clocktest.Start.Unix())))
	status, page := s.get("/")
	assert.Equal(t, 200, status)
	assert.Regexp(t, ">m/b:v1<", page)

	// An hour later: a tag has moved, another is new, and nothing else is asked for.
	s.push("a", "1", 3)
	s.push("b", "v2", 2)
	s.src.ResetLog()
	s.pass(66 * time.Minute) // with the jitter
	s.wait("copied", 4)
	s.same("a", "m/a", "1")
	s.same("b", "m/b", "v2")
	assert.Equal(t, 4+3, s.pulls(), "the list and the images of what is new: of a:1 and of b:v2")

	assert.Equal(t, StatusDone, s.end())
	entries, err := os.ReadDir(filepath.Join(s.state, "locks"))
	require.NoError(t, err)
	assert.NotEmpty(t, entries)

	// A server that is started again knows all that.
	s.src.ResetLog()
	s.again("--debug")
	s.wait("there already", 2) // the patterns' at once
	s.pass(66 * time.Minute)
	s.wait("there already", 5)
	assert.Zero(t, s.pulls())
}

func TestServeReloads(t *testing.T) {
	s := newServeTest(t)
	for _, name := range []string{"a", "c"} {
		s.push(name, "1", 1)
	}
	s.push("b", "v1", 1)
	s.write(servedFile)
	s.begin()
	s.wait("copied", 2)

	s.write(servedFile + "- source: SRC/c:1\n")
	s.pass(lookEvery)
	s.wait("read again", 1)
	s.wait("copied", 3)
	s.same("c", "m/c", "1")
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, "mirror_reload_successful 1\n")
	assert.Contains(t, metrics, "mirror_images{status=\"mirrored\"} 3\n")

	s.write(servedFile + "- sorce: SRC/c:1\n")
	s.pass(lookEvery)
	broken := s.wait("what was read again is broken: what was in force stays so", 1)
	assert.Contains(t, broken["error"], `images.yaml:7: an image has no key "sorce"; did you mean "source"?`)
	_, metrics = s.get("/metrics")
	assert.Contains(t, metrics, "mirror_reload_successful 0\n")
	s.clock.Advance(time.Second) // a page lasts so long
	_, page := s.get("/")
	assert.Contains(t, page, "did you mean")
	status, _ := s.get("/readyz")
	assert.Equal(t, 200, status)
	s.push("c", "1", 2)
	s.pass(66 * time.Minute)
	s.wait("copied", 4)
	s.same("c", "m/c", "1")

	s.write(servedFile)
	s.pass(lookEvery)
	s.wait("read again", 2)
	_, metrics = s.get("/metrics")
	assert.Contains(t, metrics, "mirror_images{status=\"mirrored\"} 2\n", "what the file does not name any more is not shown")
}

// TestServeReloadsRegistries: what could not be reached is tried again when the file says how.
func TestServeReloadsRegistries(t *testing.T) {
	s := newServeTest(t)
	auth := registrytest.Auth{Accounts: []registrytest.Account{{Username: "alice", Password: "pw"}}}
	s.src = registrytest.Start(t, registrytest.Options{Auth: &auth})
	s.push("a", "1", 1)
	authfile := filepath.Join(filepath.Dir(s.file), "auth.json")
	require.NoError(t, os.WriteFile(authfile, []byte(`{"auths":{"`+s.src.Host()+`":{"auth":"YWxpY2U6cHc="}}}`), 0o600))
	text := "images: [{source: 'SRC/a:1', destination: 'DST/{repository}'}]\n"
	s.write(text)
	s.begin()
	assert.Contains(t, s.wait("not copied", 1)["error"], "and so does authfile in registries of the file")
	s.write(text + "registries: [{registry: '" + s.src.Host() + "', authfile: none.json}]\n")
	s.pass(lookEvery)
	assert.Contains(t, s.wait("what was read again is broken: what was in force stays so", 1)["error"], "images.yaml:2: authfile of "+s.src.Host())
	s.write(text + "registries: [{registry: '" + s.src.Host() + "', authfile: auth.json}]\n")
	s.pass(lookEvery)
	s.wait("copied", 1)
	s.same("a", "a", "1")
}

// TestServeNoticesSecrets: whatever a person does first, and without a signal.
func TestServeNoticesSecrets(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.push("b", "v1", 1)
	s.write(servedFile)
	s.begin()
	s.wait("copied", 2)
	s.write(servedFile + "notify:\n- {name: hook, format: distribution, registry: '" + s.src.Host() + "', secret-file: secret}\n")
	s.pass(lookEvery)
	broken := s.wait("what was read again is broken: what was in force stays so", 1)
	assert.Contains(t, broken["error"], "images.yaml:8: secret-file ")
	assert.Contains(t, broken["error"], "`openssl rand -hex 32` makes a good one")
	for i, secret := range []string{"a-secret-of-the-sender", "another-one-of-the-sender"} {
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(s.file), "secret"), []byte(secret), 0o600))
		s.pass(lookEvery)
		s.wait("read again", i+1)
		status, _ := s.request(http.MethodPost, "/notify/hook", secret, `{"events": []}`)
		assert.Equal(t, 202, status)
	}
}

func TestServeIsNotified(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.push("b", "v1", 1)
	secret := filepath.Join(filepath.Dir(s.file), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("a-secret-of-the-sender\n"), 0o600))
	s.write(servedFile + "notify:\n- {name: hook, format: distribution, registry: '" + s.src.Host() + "', secret-file: secret}\n")
	s.begin()
	s.wait("copied", 2)
	s.push("b", "v7", 1)
	event := fmt.Sprintf(`{"events": [{"action": "push", "target": {"mediaType": "application/vnd.oci.image.index.v1+json", "repository": "b", "tag": "v7",
		"url": %q}, "request": {"host": "attacker.example"}}]}`, s.url+"/metrics")
	status, _ := s.request(http.MethodPost, "/notify/hook", "wrong-wrong-wrong-wrong", event)
	assert.Equal(t, 401, status)
	status, _ = s.request(http.MethodPost, "/notify/hook", "a-secret-of-the-sender", event)
	assert.Equal(t, 202, status)
	s.wait("copied", 3)
	s.same("b", "m/b", "v7")
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="accepted",sender="hook"} 1`)
	assert.Contains(t, metrics, `mirror_notifications_total{outcome="refused",sender="hook"} 1`)
}

func TestServeRefuses(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	s.write("images: [{source: SRC/a:1, destination: DST/a}]")
	state := filepath.Join(t.TempDir(), "state")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{s.file}, "a server needs --state FILE"},
		{[]string{"--state", state, "-"}, "standard input"},
		{[]string{"--state", state}, "takes one FILE"},
		{[]string{"--state", state, "--every", "1ms", s.file}, "--every: 1ms is no interval"},
		{[]string{"--state", state, "--tls-cert", "x", s.file}, "--tls-cert and --tls-key need each other"},
		{[]string{"--state", state, "--override-os", "linux", s.file}, "--override-os has no effect on a server"},
		{[]string{"--state", state, "--listen", "0.0.0.0:0", s.file}, "--listen 0.0.0.0:0: other machines reach this address, and there is no TLS: give it --tls-cert and --tls-key, or say --insecure-listen"},
		{[]string{"--state", state, s.file + ".not"}, "no such file"},
		{[]string{"--state", filepath.Dir(state), s.file}, "--state"},
		{[]string{"--state", state, "--listen", "9450", s.file}, "--listen: address 9450: missing port in address; write HOST:PORT, such as 127.0.0.1:9450"},
		{[]string{"--state", state, "--stop-timeout", "-1s", s.file}, "--stop-timeout is -1s: write a duration from zero, such as 30s"},
		{[]string{"--state", state, "--token-file", "not", s.file}, "--token-file not: stat not: no such file or directory; `openssl rand -hex 32` makes a good one"},
		{[]string{"--state", state, "--tls-cert", "not", "--tls-key", "no", s.file}, "--tls-cert not, --tls-key no: open not: no such file"},
	} {
		r := mirror(t, "serve", c.args...)
		assert.Equal(t, StatusMisused, r.status, "%q: %s", c.args, r.stderr)
		assert.Contains(t, r.stderr, c.want)
	}
}

func TestServeWantsTheStateForItself(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.push("b", "v1", 1)
	s.write(servedFile)
	s.begin()
	r := mirror(t, "serve", "--state", s.stateFile(), "--listen", "127.0.0.1:0", s.file)
	assert.Equal(t, StatusFailed, r.status)
	assert.Contains(t, r.stderr, "another process uses it, and a server wants it for itself")
}

// ownCertificate writes the certificate of net/http's test servers, and its key.
func ownCertificate(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return certificate, key
}

func TestServeToOtherMachines(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.write("images: [{source: SRC/a:1, destination: DST/a}]")
	certificate, key := ownCertificate(t, t.TempDir())
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("the-token-of-the-server"), 0o644))
	s.begin("--listen", ":0", "--tls-cert", certificate, "--tls-key", key, "--token-file", token, "--metrics-per-image=false", "--every", "10m",
		"--stop-timeout", "1s", "--debug", "--jobs", "2")
	s.wait("copied", 1)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.url, "https://"))
	require.NoError(t, err)
	s.url = "https://127.0.0.1:" + port
	roots := x509.NewCertPool()
	text, err := os.ReadFile(certificate)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(text))
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	s.wait("the token in "+token+" can be read by everybody on this machine: chmod 600", 1)
	for _, path := range []string{"/", "/metrics"} {
		status, _ := s.get(path)
		assert.Equal(t, 401, status)
		status, _ = s.request(http.MethodGet, path, "the-token-of-the-server", "")
		assert.Equal(t, 200, status)
	}
	_, metrics := s.request(http.MethodGet, "/metrics", "the-token-of-the-server", "")
	assert.NotContains(t, metrics, s.dst.Host())

	require.NoError(t, os.WriteFile(token, []byte("another-token-of-the-server"), 0o600))
	s.pass(lookEvery)
	s.wait("read again", 1)
	status, _ := s.request(http.MethodGet, "/", "another-token-of-the-server", "")
	assert.Equal(t, 200, status)
	s.pass(11 * time.Minute)
	s.wait("there already", 1)
}

// TestServeWaitsForOthers keeps a lock that another process would have.
func TestServeWaitsForOthers(t *testing.T) {
	s := newServeTest(t)
	s.push("a", "1", 1)
	s.write("images: [{source: SRC/a:1, destination: DST/a}]")
	lock, err := lockAll(&environment{getenv: os.Getenv}, s.state, []string{"docker://" + s.dst.Host() + "/a"})
	require.NoError(t, err)
	s.begin("--insecure-listen", "--listen", ":0")
	failed := s.wait("not copied", 1)
	assert.Contains(t, failed["error"], "another run is writing to docker://"+s.dst.Host()+"/a (process")
	assert.Equal(t, true, failed["retry"])
	assert.Empty(t, s.dst.Repos())
	lock.release()
	s.pass(time.Minute)
	s.wait("copied", 1)
}

// TestServeSignsByKeysOnly refuses a signer whose certificate would be too old soon.
func TestServeSignsByKeysOnly(t *testing.T) {
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	signer := filepath.Join(filepath.Dir(s.file), "signer.yaml")
	require.NoError(t, os.WriteFile(signer, []byte("fulcio:\n  fulcioURL: http://127.0.0.1:1\n  oidcMode: staticToken\n  oidcIDToken: x\n"), 0o600))
	s.write("images: [{source: SRC/a:1, destination: DST/a, sign-by-sigstore: signer.yaml}]")
	r := mirror(t, "serve", "--state", filepath.Join(t.TempDir(), "state"), s.file)
	assert.Equal(t, StatusMisused, r.status)
	assert.Contains(t, r.stderr, "images.yaml:1: a server signs with keys: a certificate of Fulcio is good for minutes")
}

// TestServeFlagsAreDocumented holds the table of docs/serve.md against the flags that sync does not
// have, and those that say something else there.
func TestServeFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/serve.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Flags\n")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--.*? \\|").FindAllString(section, -1) {
		for _, flag := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(row, -1) {
			documented[flag[1]] = true
		}
	}
	e := &environment{}
	own := map[string]bool{"state": true, "jobs": true}
	sync := finished(&syncCommand{env: e}).Flags()
	finished(&serveCommand{env: e}).Flags().VisitAll(func(f *pflag.Flag) {
		if sync.Lookup(f.Name) == nil {
			own[f.Name] = true
		}
	})
	assert.Equal(t, own, documented)
}

func TestServeLeavesPullsToOthers(t *testing.T) {
	s := newServeTest(t)
	s.src = registrytest.Start(t, registrytest.Options{
		RateLimit: &registrytest.RateLimit{Limit: 10, Window: 6 * time.Hour, States: registrytest.DockerHubLimit, Clock: s.clock},
	})
	s.push("a", "1", 3)
	s.push("b", "v1", 3)
	first := "images:\n- {source: SRC/a:1, destination: DST/m/a, every: 24h}\n" // whose HEAD would be answered with the limit of another hour
	s.write(first)
	const message = "the rate limit of the source is used up"
	s.begin("--min-remaining", "5", "--jobs", "1", "--no-cache")
	s.wait("copied", 1)
	s.write(first + "- {source: SRC/b, destination: DST/m/b, tags: [\"v*\"], every: 1h}\n")
	s.pass(lookEvery)
	until, err := time.Parse(time.RFC3339Nano, s.wait(message, 1)["until"].(string))
	require.NoError(t, err)
	assert.Equal(t, clocktest.Start.Add(lookEvery+6*time.Hour), until.UTC())
	_, metrics := s.get("/metrics")
	assert.Contains(t, metrics, "mirror_copies_total{status=\"postponed\"} 1\n")
	assert.Contains(t, metrics, fmt.Sprintf("mirror_rate_limit{registry=%q} 10\n", s.src.Host()))
	assert.Contains(t, metrics, fmt.Sprintf("mirror_rate_limit_remaining{registry=%q} 5\n", s.src.Host()))
	assert.Equal(t, 4+1, s.pulls())
	s.pass(66 * time.Minute)
	s.wait(message, 2)
	assert.Equal(t, 4+1, s.pulls(), "it is due, and waits")
	s.pass(5 * time.Hour)
	s.pass(time.Hour) // for how much is left is what was said last, which may have been at the first look
	s.wait("copied", 2)
}
