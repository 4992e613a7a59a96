package registrytest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// record serves a request without a listener.
func record(r *Registry, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestHandlerWithoutListener(t *testing.T) {
	r := NewHandler(Options{RedirectBlobs: true, Location: LocationSecond, TLS: true, RTT: time.Hour})
	defer r.Close()
	d := r.PutBlob("a", []byte("x"))
	require.Equal(t, "x", record(r, "GET", "/v2/a/blobs/"+d.String()).Body.String())
	w := record(r, "POST", "/v2/a/blobs/uploads/")
	require.Equal(t, 202, w.Code)
	require.Contains(t, w.Header().Get("Location"), "http://example.com/v2/a/blobs/uploads/")
	require.Panics(t, func() {
		record(NewHandler(Options{Script: OnNth(1, Close())}), "GET", "/v2/")
	})
	require.Zero(t, r.Connections())
	require.Empty(t, r.SecondHost())

	req := httptest.NewRequest("GET", "/v2/", nil)
	req.Body = nil
	r.ServeHTTP(httptest.NewRecorder(), req)
	r.Close()
	require.Panics(t, func() { record(r, "GET", "/v2/") })
}

func TestRequestLog(t *testing.T) {
	c := start(t, Options{})
	before := time.Now()
	c.do(200, "GET", "/v2/?x=y", "")
	c.do(404, "GET", "/v2/a/manifests/v1", "", basic("u", "p")...)
	d := c.push("a", "0123")
	log := c.Requests()
	require.Len(t, log, 4)
	q := log[0]
	require.Equal(t, Request{
		N: 1, Method: "GET", Kind: KindPing, Path: "/v2/", Query: "x=y", Host: c.Host(), Proto: "HTTP/1.1",
		Remote: q.Remote, Header: q.Header, Status: 200, BytesOut: 2, Start: q.Start, End: q.End,
	}, q)
	require.False(t, q.Start.Before(before) || q.End.Before(q.Start))
	require.Empty(t, q.Authorization())
	require.Equal(t, KindManifest, log[1].Kind)
	require.Equal(t, "a v1", log[1].Repo+" "+log[1].Ref)
	require.Equal(t, 404, log[1].Status)
	require.Equal(t, basic("u", "p")[1], log[1].Authorization())
	require.EqualValues(t, 4, log[3].BytesIn)
	require.Contains(t, log[3].Query, d.Hex())
	require.Equal(t, 1, c.Count(Is("PUT", "")))
	require.Equal(t, 2, c.Count(Is("", KindUpload)))
	require.Equal(t, 4, c.Count(nil))
	require.Equal(t, 1, c.Peak())
	clients := map[string]bool{}
	for _, q := range log {
		clients[q.Remote] = true
	}
	require.Len(t, clients, c.Connections())

	c.ResetLog()
	require.Empty(t, c.Requests())
	require.Zero(t, c.Peak())
	c.do(200, "GET", "/v2/", "")
	require.Equal(t, 5, c.Requests()[0].N)
}

// TestPeak has a client ask again when it gets some byte of an answer, which has not ended yet.
func TestPeak(t *testing.T) {
	for asksAt, want := range map[int]int{1: 2, 3: 2, 4: 1} {
		r := NewHandler(Options{})
		blob := r.PutBlob("a", []byte("0123"))
		again := func() { record(r, "GET", "/v2/") }
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v2/a/blobs/"+blob.String(), nil)
		r.ServeHTTP(&readingWriter{ResponseWriter: httptest.NewRecorder(), left: asksAt, then: again}, req)
		require.Equal(t, want, r.Peak(), "at byte %d of 4", asksAt)
		require.EqualValues(t, 4, r.Requests()[0].BytesOut)
		record(r, "GET", "/v2/")
		require.Equal(t, want, r.Peak())
	}
}

// A readingWriter calls then when so many bytes have been written, and before Write returns.
type readingWriter struct {
	http.ResponseWriter
	left int
	then func()
}

func (w *readingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if w.left > 0 && w.left <= n {
		w.then()
	}
	w.left -= n
	return n, err
}

func TestHistoryIsOrdered(t *testing.T) {
	c := start(t, Options{})
	a := c.push("a", "x")
	c.PutBlob("b", []byte("x"))
	m := image(a)
	c.do(201, "PUT", "/v2/a/manifests/v1", m, "Content-Type", imageType)
	c.do(201, "PUT", "/v2/a/manifests/v1", m, "Content-Type", imageType)
	var seqs, requests []int
	var changed []bool
	for _, e := range c.History("a") {
		seqs, requests, changed = append(seqs, e.Seq), append(requests, e.Request), append(changed, e.Changed)
	}
	require.Equal(t, []int{1, 3, 4, 5, 6}, seqs)
	require.Equal(t, []int{2, 3, 3, 4, 4}, requests)
	require.Equal(t, []bool{true, true, true, false, false}, changed)
	require.Nil(t, c.History("none"))
	require.Empty(t, c.Snapshot("none"))
	require.Nil(t, c.Tags("none"))
	_, _, ok := c.Manifest("none", "v1")
	require.False(t, ok)
	_, ok = c.Content("none", a)
	require.False(t, ok)
	require.False(t, c.DeleteBlob("none", a) || c.DeleteTag("none", "x") || c.DeleteManifest("none", a) || c.DeleteTag("a", "x"))
	require.True(t, c.DeleteTag("a", "v1"))
}

func TestManifestsAreCopies(t *testing.T) {
	r := NewHandler(Options{})
	b := []byte("{}")
	d := r.PutManifest("a", "v1", imageType, b)
	b[0] = 'x'
	got, _, _ := r.Manifest("a", d.String())
	require.Equal(t, "{}", string(got))
	got[0] = 'x'
	got, _, _ = r.Manifest("a", "v1")
	require.Equal(t, "{}", string(got))

	lie := r.PutManifest("a", d.String(), imageType, []byte("other"))
	require.Equal(t, d, lie)
	require.Equal(t, "other", record(r, "GET", "/v2/a/manifests/"+d.String()).Body.String())
}

func TestTLS(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		c := start(t, Options{TLS: true, HTTP2: http2})
		require.True(t, strings.HasPrefix(c.URL(), "https://127.0.0.1:"))
		// A client that could do both gets what is offered.
		tr := &http.Transport{TLSClientConfig: c.ClientTLS(), ForceAttemptHTTP2: true}
		resp, err := (&http.Client{Transport: tr}).Get(c.URL() + "/v2/")
		require.NoError(t, err)
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		require.Equal(t, http2, resp.ProtoMajor == 2)
		require.Equal(t, resp.Proto, c.Requests()[0].Proto)
		_, err = http.Get(c.URL() + "/v2/")
		require.ErrorAs(t, err, new(x509.UnknownAuthorityError))
	}
}

func TestClientCertificate(t *testing.T) {
	c := start(t, Options{TLS: true, RequireClientCert: true, Location: LocationSecond})
	c.do(200, "GET", "/v2/", "")

	dir := t.TempDir()
	require.NoError(t, c.WriteCertsDir(dir))
	for _, host := range []string{c.Host(), c.SecondHost()} {
		at := func(name string) string { return filepath.Join(dir, host, name) }
		ca, err := os.ReadFile(at("ca.crt"))
		require.NoError(t, err)
		require.Equal(t, c.CA(), ca)
		config := &tls.Config{RootCAs: x509.NewCertPool()}
		require.True(t, config.RootCAs.AppendCertsFromPEM(ca))
		tr := &http.Transport{TLSClientConfig: config}
		defer tr.CloseIdleConnections()
		_, err = (&http.Client{Transport: tr}).Get("https://" + host + "/v2/")
		require.Error(t, err)

		cert, err := tls.LoadX509KeyPair(at("client.cert"), at("client.key"))
		require.NoError(t, err)
		tr.TLSClientConfig = &tls.Config{RootCAs: config.RootCAs, Certificates: []tls.Certificate{cert}}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + host + "/v2/")
		require.NoError(t, err)
		_ = resp.Body.Close()
	}

	plain := start(t, Options{})
	require.NoError(t, plain.WriteCertsDir(dir))
	entries, err := os.ReadDir(filepath.Join(dir, plain.Host()))
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Nil(t, plain.ClientTLS())
	require.Nil(t, plain.CA())
	require.Error(t, c.WriteCertsDir(filepath.Join(dir, c.Host(), "ca.crt")))
}

// TestManyUploadsOverOneConnection is the deadlock of registries that hold a lock while they read a
// body: many uploads share the window of one HTTP/2 connection.
func TestManyUploadsOverOneConnection(t *testing.T) {
	c := start(t, Options{TLS: true, HTTP2: true, DiscardBlobs: true})
	c.do(200, "GET", "/v2/", "")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			content := Seeded(uint64(i), 256<<10)
			a, err := c.try("POST", "/v2/a/blobs/uploads/?digest="+content.Digest.String(), io.LimitReader(content.Reader(), content.Size))
			if err != nil || a.StatusCode != 201 {
				t.Errorf("%v %v", a.Response, err)
			}
		})
	}
	wg.Wait()
	require.Len(t, c.Blobs("a"), 64)
	require.Equal(t, 1, c.Connections())
}

func TestCloseLeavesNoGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, o := range []Options{{}, {RTT: time.Millisecond}, {RTT: time.Millisecond, TLS: true, HTTP2: true, RedirectBlobs: true}} {
		r := New(o)
		tr := &http.Transport{TLSClientConfig: r.ClientTLS(), ForceAttemptHTTP2: true}
		resp, err := (&http.Client{Transport: tr}).Get(r.URL() + "/v2/")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		r.Close()
		tr.CloseIdleConnections()
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, waitFor, tick, "+1: this check")
}

// TestRestart restarts a registry at its address, with the certificate that it had and with others.
func TestRestart(t *testing.T) {
	r := Start(t, Options{TLS: true})
	host, d := r.Host(), r.PutBlob("a", []byte("x"))
	get := func(trusted *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: trusted}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(r.URL() + "/v2/a/blobs/" + d.String())
		if err == nil {
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.NoError(t, resp.Body.Close())
		}
		return err
	}
	first := r.ClientTLS()
	require.NoError(t, get(first))
	r.Restart()
	require.NoError(t, get(first))
	r.RenewCertificate(false)
	require.NoError(t, get(first))
	r.RenewCertificate(true)
	require.ErrorAs(t, get(first), new(*tls.CertificateVerificationError))
	require.NoError(t, get(r.ClientTLS()))
	require.Equal(t, host, r.Host())
	require.Equal(t, 5, r.Connections())
}

func TestSetAnnouncement(t *testing.T) {
	r := NewHandler(Options{})
	require.Equal(t, http.StatusNotFound, record(r, "GET", capabilitiesPath).Code)
	r.SetAnnouncement(&Announcement{Sparse: true})
	require.Contains(t, record(r, "GET", capabilitiesPath).Body.String(), `"supported":true`)
	r.SetAnnouncement(nil)
	require.Equal(t, http.StatusNotFound, record(r, "GET", capabilitiesPath).Code)
}
