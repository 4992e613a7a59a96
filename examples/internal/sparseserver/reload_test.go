package sparseserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// readCertificate returns what is in a file of writeCertificate.
func readCertificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	block, _ := pem.Decode(content)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return certificate
}

// presented is the certificate that a new connection to a server gets.
func presented(t *testing.T, server *Server) *x509.Certificate {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Address())
	require.NoError(t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// reload has a server put c in force.
func reload(server *Server, c Config) error {
	return server.Reload(func() (Config, error) { return c, nil })
}

func required(architectures ...string) sparseregistry.Policies {
	return sparseregistry.Policies{Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: architectures}}
}

// TestReloadUnderLoad exchanges certificate and policy again and again while 200 clients pull, half
// of them over a new connection for each request, and some push, too: no request fails.
func TestReloadUnderLoad(t *testing.T) {
	const clients, reloads = 200, 2
	dir := t.TempDir()
	c := Config{Policies: required("amd64")}
	c.Certificate, c.Key = writeCertificate(t, dir, time.Hour)
	server, _ := start(t, c)

	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	f.List("sparse", imagetest.Entries("amd64", "ppc64le"))
	transport := func(keep bool) *http.Transport {
		return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: !keep}
	}
	prepare := sparsetest.NewClientOf(server.URL(), transport(true))
	for _, image := range []string{"amd64", "arm64"} {
		require.NoError(t, prepare.PushImage(t.Context(), f, "app", image))
	}
	require.Equal(t, http.StatusCreated, prepare.Put(t, f, "app", "v1", "top").Status)

	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int64
	var wg sync.WaitGroup
	failures := make(chan error, clients)
	for i := range clients {
		client := sparsetest.NewClientOf(server.URL(), transport(i%2 == 0))
		do := pull
		if i%20 == 0 {
			do = pushAndPull
		}
		wg.Go(func() { failures <- repeat(ctx, client, f, do, &answered) })
	}
	for i := range reloads {
		before := answered.Load()
		require.Eventually(t, func() bool { return answered.Load() >= before+clients || len(failures) > 0 }, 10*time.Minute, time.Millisecond)
		writeCertificate(t, dir, time.Hour)
		c.Policies = required("amd64")
		if i%2 == 0 {
			c.Policies = required("amd64", "ppc64le")
		}
		require.NoError(t, reload(server, c))
		assert.Equal(t, readCertificate(t, c.Certificate).Raw, presented(t, server).Raw)
		want := http.StatusCreated
		if i%2 == 0 {
			want = http.StatusBadRequest
		}
		assert.Equal(t, want, prepare.Put(t, f, "app", "sparse", "sparse").Status)
	}
	stop()
	wg.Wait()
	for range clients {
		require.NoError(t, <-failures)
	}
	t.Logf("%d requests under %d reloads", answered.Load(), reloads)
}

// repeat does something until ctx ends. It returns the first failure.
func repeat(
	ctx context.Context, client *sparsetest.Client, f *imagetest.Fixture,
	do func(context.Context, *sparsetest.Client, *imagetest.Fixture) error, answered *atomic.Int64,
) error {
	defer client.CloseIdle()
	for ctx.Err() == nil {
		if err := do(context.WithoutCancel(ctx), client, f); err != nil {
			return err
		}
		answered.Add(1)
	}
	return nil
}

func pull(ctx context.Context, client *sparsetest.Client, f *imagetest.Fixture) error {
	answer, err := client.Try(ctx, http.MethodGet, sparsetest.ManifestPath("app", f.Digest("top").String()), nil, nil)
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("pull: %d %s", answer.Status, answer.Body)
	}
	return err
}

func pushAndPull(ctx context.Context, client *sparsetest.Client, f *imagetest.Fixture) error {
	answer, err := client.TryPut(ctx, f, "app", "v1", "top")
	if err == nil && answer.Status != http.StatusCreated {
		err = fmt.Errorf("push: %d %s", answer.Status, answer.Body)
	}
	if err != nil {
		return err
	}
	return pull(ctx, client, f)
}

// TestReloadIsAllOrNothing reloads with one fault at a time: everything stays as it was.
func TestReloadIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	c := Config{Policies: required("amd64"), Htpasswd: filepath.Join(dir, "htpasswd")}
	c.Certificate, c.Key = writeCertificate(t, dir, time.Hour)
	writeFile(t, c.Htpasswd, entry(t, "alice", "secret"))
	server, _ := start(t, c)
	old := presented(t, server)

	next := c
	next.Policies = required("arm64")
	next.Htpasswd = filepath.Join(dir, "other")
	next.Certificate, next.Key = writeCertificate(t, t.TempDir(), time.Hour)
	writeFile(t, next.Htpasswd, entry(t, "bob", "secret"))
	broken := filepath.Join(dir, "broken")
	writeFile(t, broken, "no colon\n")
	for name, fault := range map[string]struct {
		of  func(c *Config)
		err string
	}{
		"policy":      {func(c *Config) { c.Policies = required("ARM64") }, `required architecture "ARM64" must be in lower case`},
		"certificate": {func(c *Config) { c.Certificate = broken }, "certificate " + broken + ", key " + next.Key + ": tls: "},
		"other key":   {func(c *Config) { c.Key = filepath.Join(dir, "key.pem") }, "tls: private key does not match public key"},
		"no key":      {func(c *Config) { c.Key = "" }, "TLS needs both a certificate and a key"},
		"no TLS":      {func(c *Config) { c.Certificate, c.Key = "", "" }, "TLS cannot be switched on or off while the server runs"},
		"htpasswd":    {func(c *Config) { c.Htpasswd = broken }, broken + ":1: not of the form USER:HASH"},
		"no users":    {func(c *Config) { c.Htpasswd = "" }, "passwords cannot be switched off while the server runs"},
		"no htpasswd": {func(c *Config) { c.Htpasswd = filepath.Join(dir, "none") }, "no such file or directory"},
	} {
		faulty := next
		fault.of(&faulty)
		require.ErrorContains(t, reload(server, faulty), fault.err, name)
		assert.Equal(t, old.Raw, presented(t, server).Raw, name)
		assert.Equal(t, c.Policies, server.Policies(), name)
		assert.True(t, server.access.users().know("alice", "secret"), name)
	}

	unreadable := errors.New("no settings")
	require.ErrorIs(t, server.Reload(func() (Config, error) { return next, unreadable }), unreadable)
	assert.Equal(t, c.Policies, server.Policies())

	require.NoError(t, reload(server, next))
	assert.InDelta(t, 1, testutil.ToFloat64(server.metrics.reloads.WithLabelValues("done")), 0)
	assert.InDelta(t, 9, testutil.ToFloat64(server.metrics.reloads.WithLabelValues("refused")), 0)
	assert.Equal(t, readCertificate(t, next.Certificate).Raw, presented(t, server).Raw)
	assert.Equal(t, next.Policies, server.Policies())
	assert.True(t, server.access.users().know("bob", "secret"))
	assert.False(t, server.access.users().know("alice", "secret"))
}

func TestTLSCannotBeSwitchedOn(t *testing.T) {
	server, client := start(t, Config{})
	var c Config
	c.Certificate, c.Key = writeCertificate(t, t.TempDir(), time.Hour)
	require.ErrorContains(t, reload(server, c), "TLS cannot be switched on or off while the server runs")
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/v2/", nil, nil).Status)
}

func TestACertificateThatHasExpiredIsAWarning(t *testing.T) {
	dir := t.TempDir()
	var log logBuffer
	c := Config{Log: log.logger()}
	c.Certificate, c.Key = writeCertificate(t, dir, time.Hour)
	server, _ := start(t, c)
	assert.Empty(t, log.lines("certificate"))
	writeCertificate(t, dir, -time.Hour)
	require.NoError(t, reload(server, c))
	require.Len(t, log.lines("certificate"), 1)
	assert.Contains(t, log.lines("certificate")[0], `level=WARN msg="the certificate has expired" not_after=`)
}
