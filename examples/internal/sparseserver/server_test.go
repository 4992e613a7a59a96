package sparseserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// lines returns the lines that contain text, without their time.
func (l *logBuffer) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
			found = append(found, line)
		}
	}
	return found
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestARefusedListIsOneLineOfTheLog(t *testing.T) {
	var log logBuffer
	_, client := start(t, Config{Policies: requireAMD64, Log: log.logger()})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "plain", "arm64"))
	require.Equal(t, http.StatusBadRequest, client.Put(t, f, "team/app", "v1", "top").Status)
	assert.Equal(t, []string{
		`level=WARN msg="manifest refused" repository=team/app reference=v1 status=400 missing_architectures=amd64,- ` +
			`reason="Required architecture 'amd64' manifest not found (and 1 more)"`,
	}, log.lines("manifest refused"))
	require.Eventually(t, func() bool { return len(log.lines("msg=request")) == 1 }, time.Minute, time.Millisecond)
	line := log.lines("msg=request")[0]
	assert.Contains(t, line, "level=INFO msg=request method=PUT path=/v2/team/app/manifests/v1 status=400 bytes=")
	assert.Contains(t, line, "client=127.0.0.1 agent=Go-http-client/1.1")
}

func TestTheLogHasNoUploadState(t *testing.T) {
	var log logBuffer
	_, client := start(t, Config{Log: log.logger()})
	require.NoError(t, client.PushBlob(t.Context(), "app", []byte("content")))
	require.Eventually(t, func() bool { return len(log.lines("method=PUT")) == 1 }, time.Minute, time.Millisecond)
	assert.Empty(t, log.lines("_state"))
}

func TestHealth(t *testing.T) {
	storage := filepath.Join(t.TempDir(), "made")
	_, client := start(t, Config{Storage: storage})
	answer := client.Do(t, http.MethodGet, "/healthz", nil, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
	assert.Equal(t, "ok\n", string(answer.Body))
	require.NoError(t, os.RemoveAll(storage))
	answer = client.Do(t, http.MethodGet, "/healthz", nil, nil)
	assert.Equal(t, http.StatusServiceUnavailable, answer.Status)
	assert.Equal(t, "storage is not readable\n", string(answer.Body))
}

func TestHtpasswd(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(file, []byte("alice:"+string(hash)+"\n"), 0o600))
	var log logBuffer
	_, client := start(t, Config{Policies: requireAMD64, Htpasswd: file, Log: log.logger()})

	request := func(method, path, user, password string) sparsetest.Answer {
		r, err := http.NewRequest(method, path, nil)
		require.NoError(t, err)
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		return client.Do(t, method, path, r.Header, nil)
	}
	for _, c := range []struct{ user, password string }{{"", ""}, {"alice", "wrong"}, {"bob", "secret"}} {
		for _, path := range []string{"/v2/", "/v2/app/manifests/v1"} {
			answer := request(http.MethodGet, path, c.user, c.password)
			assert.Equal(t, http.StatusUnauthorized, answer.Status)
			assert.Equal(t, `Basic realm="sparse-registry"`, answer.Header.Get("WWW-Authenticate"))
			require.Len(t, answer.Errors(), 1)
			assert.Equal(t, "UNAUTHORIZED", answer.Errors()[0].Code)
			assert.Equal(t, []string{apiVersionValue}, answer.Header.Values(apiVersion))
		}
	}
	assert.Equal(t, http.StatusOK, request(http.MethodGet, "/v2/", "alice", "secret").Status)
	require.Eventually(t, func() bool { return len(log.lines("user=alice")) == 1 }, time.Minute, time.Millisecond)

	// What the policy is needs no password, nor does health.
	answer := request(http.MethodGet, "/v2/", "", "")
	assert.Equal(t, "true", answer.Header.Get(sparseregistry.SupportHeader))
	assert.Equal(t, "amd64", answer.Header.Get(sparseregistry.ArchitecturesHeader))
	assert.Equal(t, "true", answer.Header.Get(sparseregistry.WideningHeader))
	assert.Equal(t, http.StatusOK, request(http.MethodGet, sparseregistry.CapabilitiesPath, "", "").Status)
	assert.Equal(t, http.StatusOK, request(http.MethodGet, "/healthz", "", "").Status)

	// Nobody learns from a list what is there.
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64"))
	assert.Equal(t, http.StatusUnauthorized, client.Put(t, f, "app", "v1", "top").Status)
}

// writeCertificate makes a certificate for 127.0.0.1 that ends after so long, writes it and its key
// below a directory, and returns the files.
func writeCertificate(t *testing.T, dir string, valid time.Duration) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), 0o600))
	return certificate, key
}

func TestTLS(t *testing.T) {
	certificate, key := writeCertificate(t, t.TempDir(), time.Hour)
	server, _ := start(t, Config{Certificate: certificate, Key: key})
	pool := x509.NewCertPool()
	authority, err := os.ReadFile(certificate)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(authority))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	answer, err := client.Get(server.URL() + "/v2/")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.Equal(t, "HTTP/2.0", answer.Proto)
	assert.True(t, strings.HasPrefix(server.URL(), "https://127.0.0.1:"))
}

func TestAClientThatStallsIsCutOff(t *testing.T) {
	server, client := start(t, Config{StallTimeout: 10 * time.Millisecond})
	location := startUpload(t, client)
	conn, err := net.Dial("tcp", server.Address())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PATCH "+location+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun")
	require.NoError(t, err)
	_, err = io.ReadAll(conn) // ends because the server closes
	require.NoError(t, err)

	// One that takes its time between requests is not.
	answer := client.Do(t, http.MethodGet, "/v2/", nil, nil)
	assert.Equal(t, http.StatusOK, answer.Status)
}

func TestStartRefuses(t *testing.T) {
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer occupied.Close()
	certificate, key := writeCertificate(t, t.TempDir(), time.Hour)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(broken, []byte("no colon\n"), 0o600))
	for name, c := range map[string]struct {
		config Config
		err    string
	}{
		"upper-case architecture": {
			Config{Storage: dir, Policies: sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"AMD64"}}}},
			`required architecture "AMD64" must be in lower case: "amd64"`,
		},
		"no storage":        {Config{}, "no storage directory"},
		"storage is a file": {Config{Storage: broken}, "storage directory: mkdir " + broken + ": not a directory"},
		"address in use":    {Config{Storage: dir, Address: occupied.Addr().String()}, "address already in use"},
		"metrics in use":    {Config{Storage: dir, MetricsAddress: occupied.Addr().String()}, "metrics: listen tcp " + occupied.Addr().String()},
		"no key":            {Config{Storage: dir, Certificate: certificate}, "TLS needs both a certificate and a key: set --tls-certificate and --tls-key"},
		"no certificate":    {Config{Storage: dir, Key: key}, "TLS needs both a certificate and a key: set --tls-certificate and --tls-key"},
		"bad certificate":   {Config{Storage: dir, Certificate: broken, Key: key}, "tls: failed to find any PEM data in certificate input"},
		"no htpasswd":       {Config{Storage: dir, Htpasswd: filepath.Join(dir, "none")}, "htpasswd file: stat " + filepath.Join(dir, "none") + ": no such file or directory"},
		"bad htpasswd":      {Config{Storage: dir, Htpasswd: broken}, broken + ":1: not of the form USER:HASH"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.config.Address == "" {
				c.config.Address = "127.0.0.1:0"
			}
			_, err := Start(c.config)
			assert.ErrorContains(t, err, c.err)
		})
	}
	_, err = os.Stat(filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, os.ErrNotExist, "no htpasswd file was made")
}

// TestOneServerPerStorage starts servers over a storage that another one has, in this process and
// in others.
func TestOneServerPerStorage(t *testing.T) {
	storage := t.TempDir()
	refused := func() {
		t.Helper()
		_, err := Start(Config{Address: "127.0.0.1:0", Storage: storage})
		var locked *registrystore.LockedError
		require.ErrorAs(t, err, &locked)
		assert.Equal(t, storage, locked.Storage)
		assert.Contains(t, locked.Holder, "sparse-registry (process ")
	}
	server, client := start(t, Config{Storage: storage})
	refused()
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status, "the first one goes on")
	require.NoError(t, server.Close())

	process := startProcess(t, storage)
	refused()
	process.kill(t)
	_, client = start(t, Config{Storage: storage})
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status)
}

// TestAFailedStartLeavesNoLock starts a server that cannot listen.
func TestAFailedStartLeavesNoLock(t *testing.T) {
	first, _ := start(t, Config{})
	storage := t.TempDir()
	_, err := Start(Config{Address: first.Address(), Storage: storage})
	require.ErrorContains(t, err, "address already in use")
	start(t, Config{Storage: storage})
}

func TestTheSecretIsKept(t *testing.T) {
	storage := t.TempDir()
	first, err := loadSecret(storage)
	require.NoError(t, err)
	second, err := loadSecret(storage)
	require.NoError(t, err)
	assert.Equal(t, first, second)
	assert.GreaterOrEqual(t, len(first), 26)
	info, err := os.Stat(filepath.Join(storage, secretFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}
