package mirrorserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// says answers with a text.
func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { say(w, text) })
}

// serve starts a server on a free port of this machine.
func serve(t *testing.T, change func(*ServerOptions)) *Server {
	t.Helper()
	options := ServerOptions{
		Address: "127.0.0.1:0", Page: says("page"), Metrics: says("metrics"), Notify: says("notify"),
		Alive: func(context.Context) bool { return true }, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&options)
	}
	s, err := Start(options)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, s.Shutdown(context.Background()))
		assert.NoError(t, s.Err())
	})
	return s
}

// ask sends a request, and returns the status and the body.
func ask(t *testing.T, client *http.Client, method, url, authorization string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body), resp.Header
}

func TestPaths(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/", 200, "page"},
		{"HEAD", "/", 200, ""},
		{"POST", "/", 405, "Method Not Allowed\n"},
		{"GET", "/metrics", 200, "metrics"},
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/readyz", 503, "starting\n"},
		{"POST", "/notify/quay", 200, "notify"},
		{"GET", "/anything", 404, "404 page not found\n"},
		{"GET", "/metrics/../../etc/passwd", 200, "404"},
	} {
		status, body, header := ask(t, http.DefaultClient, c.method, s.URL()+c.path, "")
		if c.body == "404" { // a client that was redirected to the clean path
			assert.Equal(t, 404, status)
			continue
		}
		assert.Equal(t, c.status, status, c.path)
		assert.Equal(t, c.body, body, c.path)
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-store", header.Get("Cache-Control"))
	}
	s.SetReady("")
	status, body, _ := ask(t, http.DefaultClient, "GET", s.URL()+"/readyz", "")
	assert.Equal(t, 200, status)
	assert.Equal(t, "ready\n", body)
	s.SetReady("stopping")
	status, _, _ = ask(t, http.DefaultClient, "GET", s.URL()+"/readyz", "")
	assert.Equal(t, 503, status)
	s.SetNotify(says("other"))
	_, body, _ = ask(t, http.DefaultClient, "POST", s.URL()+"/notify/quay", "")
	assert.Equal(t, "other", body)
}

func TestHealth(t *testing.T) {
	var alive atomic.Bool
	s := serve(t, func(o *ServerOptions) { o.Alive = func(context.Context) bool { return alive.Load() } })
	status, _, _ := ask(t, http.DefaultClient, "GET", s.URL()+"/healthz", "")
	assert.Equal(t, 503, status)
	alive.Store(true)
	status, _, _ = ask(t, http.DefaultClient, "GET", s.URL()+"/healthz", "")
	assert.Equal(t, 200, status)
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write("0123456789abcdef\n")
	var log bytes.Buffer
	s := serve(t, func(o *ServerOptions) { o.TokenFile, o.Log = path, slog.New(slog.NewTextHandler(&log, nil)) })
	status := func(path, authorization string) int {
		status, _, _ := ask(t, http.DefaultClient, "GET", s.URL()+path, authorization)
		return status
	}
	for _, path := range []string{"/", "/metrics"} {
		for authorization, want := range map[string]int{
			"":                                       401,
			"Bearer 0123456789abcdef":                200,
			"bearer  0123456789abcdef":               200,
			"Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVm": 200, // anybody:0123456789abcdef
			"Basic MDEyMzQ1Njc4OWFiY2RlZjo=":         401, // as the user
			"0123456789abcdef":                       401,
			"Bearer 0123456789abcde":                 401,
			"Bearer 0123456789abcdef0":               401,
			"Bearer ":                                401,
		} {
			assert.Equal(t, want, status(path, authorization), "%s %q", path, authorization)
		}
	}
	_, _, header := ask(t, http.DefaultClient, "GET", s.URL()+"/", "")
	assert.Contains(t, header.Get("WWW-Authenticate"), "Basic", "browsers ask for it")
	for _, path := range []string{"/healthz", "/notify/quay"} {
		assert.Equal(t, 200, status(path, ""), "%s has none, or its own", path)
	}

	write("another token, longer")
	require.NoError(t, s.Reload())
	assert.Equal(t, 401, status("/", "Bearer 0123456789abcdef"))
	assert.Equal(t, 200, status("/", "Bearer another token, longer"))
	for text, want := range map[string]string{
		"":                         "it has 0 characters and needs at least 16",
		"short":                    "it has 5 characters and needs at least 16",
		"0123456789abcdef\nsecond": "more than one line",
		strings.Repeat("x", 5000):  "more than one line",
	} {
		write(text)
		require.ErrorContains(t, s.Reload(), want)
		assert.Equal(t, 200, status("/", "Bearer another token, longer"), "the one before stays")
	}
	_, err := Start(ServerOptions{TokenFile: path + ".not"})
	require.ErrorIs(t, err, os.ErrNotExist)

	assert.Empty(t, log.String())
	require.NoError(t, os.Chmod(path, 0o604))
	write("0123456789abcdef")
	require.NoError(t, s.Reload())
	assert.Contains(t, log.String(), "can be read by everybody")
	assert.NotContains(t, log.String(), "0123456789abcdef")
}

func TestAddressesThatOthersReach(t *testing.T) {
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0"} {
		_, err := Start(ServerOptions{Address: address, Log: slog.New(slog.DiscardHandler)})
		var noSuch *net.OpError
		if errors.As(err, &noSuch) {
			continue // no IPv6
		}
		require.ErrorIs(t, err, ErrReachable, address)
	}
	serve(t, func(o *ServerOptions) { o.Address, o.Insecure = ":0", true })
	serve(t, func(o *ServerOptions) { o.Address = "localhost:0" })
	_, err := Start(ServerOptions{Address: "127.0.0.1:nonsense", Log: slog.New(slog.DiscardHandler)})
	require.Error(t, err)
}

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, dir string, serial int64) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	require.NoError(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return certificate, key
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := selfSigned(t, dir, 1)
	s := serve(t, func(o *ServerOptions) { o.Address, o.Certificate, o.Key = ":0", certificate, key })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "https://"))
	require.NoError(t, err)
	serial := func() string {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // it looks at the certificate itself
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:"+port+"/healthz", nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode)
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	assert.Equal(t, "1", serial())
	selfSigned(t, dir, 2)
	require.NoError(t, s.Reload())
	assert.Equal(t, "2", serial(), "a certificate that was renewed")
	require.NoError(t, os.WriteFile(key, nil, 0o600))
	require.ErrorContains(t, s.Reload(), key)
	assert.Equal(t, "2", serial())
}

func TestPage(t *testing.T) {
	fake := clocktest.New(time.Time{})
	written := 0
	var failure error
	p := &Page{Clock: fake, Log: slog.New(slog.DiscardHandler), Policy: "default-src 'none'", Write: func(w io.Writer) error {
		written++
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html>%d", written)
		return failure
	}}
	s := serve(t, func(o *ServerOptions) { o.Page = p })
	get := func() (int, string) {
		status, body, header := ask(t, http.DefaultClient, "GET", s.URL()+"/", "")
		if status == 200 {
			assert.Equal(t, "default-src 'none'", header.Get("Content-Security-Policy"))
			assert.Equal(t, "text/html; charset=utf-8", header.Get("Content-Type"))
		}
		return status, body
	}
	for range 3 {
		_, body := get()
		assert.Equal(t, "<!DOCTYPE html>1", body)
	}
	fake.Advance(pageLasts)
	_, body := get()
	assert.Equal(t, "<!DOCTYPE html>2", body)
	fake.Advance(pageLasts)
	failure = errors.New("a secret of the state")
	status, body := get()
	assert.Equal(t, 500, status)
	assert.NotContains(t, body, "secret")
}

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	var log bytes.Buffer
	s := serve(t, func(o *ServerOptions) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ask(t, http.DefaultClient, "POST", s.URL()+"/notify/hub/s3cr3t-s3cr3t-s3cr3t?also=s3cr3t", "")
	ask(t, http.DefaultClient, "GET", s.URL()+"/", "Bearer s3cr3t-s3cr3t-s3cr3t")
	require.NoError(t, s.Shutdown(t.Context()))
	assert.Contains(t, log.String(), "path=/notify/hub/")
	assert.NotContains(t, log.String(), "s3cr3t")
}
