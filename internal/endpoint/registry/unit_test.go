package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

func TestParseErrorBody(t *testing.T) {
	for body, want := range map[string]struct {
		errors []endpoint.RegistryErrorDetail
		text   string
	}{
		`{"errors":[{"code":"A","message":"m","detail":{"x":1}},{"code":"B"}]}`: {errors: []endpoint.RegistryErrorDetail{
			{Code: "A", Message: "m", Detail: []byte(`{"x":1}`)}, {Code: "B"}}},
		``:                               {},
		`{}`:                             {text: "{}"},
		`{"errors":[]}`:                  {errors: []endpoint.RegistryErrorDetail{}, text: `{"errors":[]}`},
		`{"errors":null}`:                {text: `{"errors":null}`},
		`{"errors":["x"]}`:               {text: `{"errors":["x"]}`},
		`{"errors":[{"code":1}]}`:        {text: `{"errors":[{"code":1}]}`},
		" <html>\n":                      {text: "<html>"},
		"\xff\xfe":                       {text: "\uFFFD"},
		strings.Repeat("é", 300):         {text: strings.Repeat("é", 256)},
		"x" + strings.Repeat("é", 300):   {text: "x" + strings.Repeat("é", 255)},
		strings.Repeat("\xff", 1000):     {text: "\uFFFD"},
		`{"details":"an old one"}`:       {text: `{"details":"an old one"}`},
		`{"errors":[{"code":"A"}]} tail`: {text: `{"errors":[{"code":"A"}]} tail`},
	} {
		errs, text := parseErrorBody([]byte(body))
		assert.Equal(t, want.errors, errs, "%q", body)
		assert.Equal(t, want.text, text, "%q", body)
	}
}

// TestRefusalsAreClean: what a registry says of a registry behind it, or repeats of what it was
// sent, is in no error.
func TestRefusalsAreClean(t *testing.T) {
	u, err := url.Parse("https://example.com/v2/a/manifests/1")
	require.NoError(t, err)
	for body, want := range map[string]string{
		"Get https://me:secret@x/?sig=secret: EOF": `403 Forbidden: "Get https://x/: EOF"`,
		"?sig=secret": `403 Forbidden: "…"`,
		`{"errors":[{"code":"A","message":"no secret-token at //u:secret@x","detail":{"sent":"Bearer secret-token","u":"https://x/?a=secret"}}]}`: `403 Forbidden: A: no … at //x ({"sent":"Bearer …","u":"https://x/"})`,
		`{"errors":[{"code":"A","detail":"a://b?c=\"d"}]}`: `403 Forbidden: A ("a://b?c=\"d")`,
	} {
		e := newRefusal(&http.Response{
			StatusCode: 403, Body: io.NopCloser(strings.NewReader(body)),
			Request: &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"Authorization": {"Bearer secret-token"}}},
		}, time.Unix(0, 0))
		assert.Contains(t, e.Error(), want)
	}
}

func FuzzRegistryError(f *testing.F) {
	f.Add(404, []byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"m","detail":{"x":1}},{"code":"B"}]}`), "7")
	f.Add(503, []byte("<html>"), "Wed, 21 Oct 2015 07:28:00 GMT")
	f.Add(400, []byte("\xff"), "-1")
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		u, err := url.Parse("https://user:secret@example.com/v2/a/blobs/uploads/1?_state=secret#secret")
		require.NoError(t, err)
		e := newRefusal(&http.Response{
			StatusCode: status, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(strings.NewReader(string(body))),
			Request: &http.Request{Method: http.MethodGet, URL: u},
		}, time.Unix(0, 0))
		if (len(e.Errors) == 0) != (e.Text != "" || strings.TrimSpace(string(body)) == "") {
			t.Fatalf("neither errors nor text: %+v", e)
		}
		if len(e.Text) > 3*maxErrorText || e.RetryAfter < 0 {
			t.Fatalf("%+v", e)
		}
		if !strings.Contains(string(body), "secret") && strings.Contains(e.Error(), "secret") {
			t.Fatal(e)
		}
		says404(e)
		isRetriable(e)
	})
}

func refusalOf(status int, after time.Duration) error {
	return fmt.Errorf("wrapped: %w", &refusal{RegistryError: &endpoint.RegistryError{Status: status, RetryAfter: after}})
}

func TestRetrier(t *testing.T) {
	s := &Shared{Retry: RetryPolicy{Attempts: 4, BaseDelay: time.Second, MaxDelay: 3 * time.Second, MaxElapsed: time.Minute}}
	ctx := context.Background()

	synctest.Test(t, func(t *testing.T) {
		r, busy := s.newRetrier(), refusalOf(503, 0)
		for _, mean := range []time.Duration{1, 2, 3} {
			start := time.Now()
			require.NoError(t, r.wait(ctx, busy))
			waited := time.Since(start)
			assert.GreaterOrEqual(t, waited, mean*time.Second/2)
			assert.LessOrEqual(t, waited, mean*time.Second*3/2)
		}
		assert.Equal(t, busy, r.wait(ctx, busy), "four attempts in all")
		r.reset()
		assert.NoError(t, r.wait(ctx, busy))
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.NoError(t, s.newRetrier().wait(ctx, refusalOf(429, 20*time.Second)))
		assert.Equal(t, 20*time.Second, time.Since(start), "Retry-After is honoured")
		start = time.Now()
		err := s.newRetrier().wait(ctx, refusalOf(429, time.Hour))
		require.ErrorContains(t, err, "wants to be asked again after 1h0m0s, at "+time.Now().Add(time.Hour).UTC().Format(time.DateTime)+" UTC")
		requireStatus(t, err, 429)
		assert.Zero(t, time.Since(start), "what takes too long is not waited for")
		r := s.newRetrier()
		time.Sleep(time.Second)
		requireStatus(t, r.wait(ctx, refusalOf(503, ocihttp.ParseRetryAfter("Fri, 31 Dec 9999 23:59:59 GMT", time.Now()))), 503)
		assert.Equal(t, time.Second, time.Since(start), "nor is the end of time")
	})
	synctest.Test(t, func(t *testing.T) {
		r, busy := s.newRetrier(), refusalOf(503, 0)
		r.unproven = true
		require.NoError(t, r.wait(ctx, busy))
		assert.Equal(t, busy, r.wait(ctx, busy), "two attempts in all")
		r = s.newRetrier()
		r.unproven = true
		require.NoError(t, r.wait(ctx, refusalOf(503, waitUnproven)))
		r.reset()
		require.Error(t, r.wait(ctx, refusalOf(503, waitUnproven+1)))
	})
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("the time is over")
		ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, reason)
		defer cancel()
		err := s.newRetrier().wait(ctx, refusalOf(429, 20*time.Second))
		require.ErrorIs(t, err, reason)
		requireStatus(t, err, 429)
		require.ErrorContains(t, err, "after 20s")
	})
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("reason")
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Second, func() { cancel(reason) })
		start := time.Now()
		require.ErrorIs(t, s.newRetrier().wait(ctx, refusalOf(429, 20*time.Second)), reason)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestIsRetriable(t *testing.T) {
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "example.com"}}
	broken := func(err error, known bool) error { return ocihttp.NewTransportError(req, err, known) }
	refused := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{refusalOf(408, 0), true}, {refusalOf(429, 0), true}, {refusalOf(500, 0), true}, {refusalOf(502, 0), true},
		{refusalOf(503, 0), true}, {refusalOf(504, 0), true},
		{refusalOf(400, 0), false}, {refusalOf(404, 0), false}, {refusalOf(501, 0), false},
		{&refusal{RegistryError: &endpoint.RegistryError{Status: 404,
			Errors: []endpoint.RegistryErrorDetail{{Code: "BLOB_UPLOAD_UNKNOWN"}}}}, true},
		{broken(io.EOF, false), true}, {broken(refused, false), false},
		{&ocihttp.ContentError{Err: broken(io.EOF, true)}, false},
		{errors.New("anything"), false},
	} {
		got, _ := isRetriable(test.err)
		assert.Equal(t, test.want, got, "%v", test.err)
	}
}

func TestParseContentRange(t *testing.T) {
	for value, want := range map[string]struct {
		start, complete int64
		ok              bool
	}{
		"bytes 5-9/10": {5, 10, true},
		"bytes 0-9/*":  {0, -1, true},
		"bytes */10":   {}, "": {}, "bytes": {}, "bytes 5": {}, "bytes x-9/10": {}, "bytes 5-9/x": {}, "items 5-9/10": {},
		"bytes -5-9/10": {}, "bytes 5-9/3": {},
	} {
		start, complete, ok := parseContentRange(value)
		assert.Equal(t, want.ok, ok, "%q", value)
		if ok {
			assert.Equal(t, want.start, start, "%q", value)
			assert.Equal(t, want.complete, complete, "%q", value)
		}
	}
}

func TestUploadLocation(t *testing.T) {
	for _, test := range []struct{ asked, location, want string }{
		{"https://x/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/1?s=t", "https://x/v2/a/blobs/uploads/1?s=t"},
		{"https://x:5000/v2/", "http://x:5000/u", "https://x:5000/u"},
		{"https://x/v2/", "http://x/u", "https://x/u"},
		{"https://x/v2/", "http://x:80/u", "http://x:80/u"},
		{"https://x/v2/", "http://y/u", "http://y/u"},
		{"http://x/v2/", "https://x/u", "https://x/u"},
		{"https://x/v2/", "https://storage/u", "https://storage/u"},
	} {
		asked, err := url.Parse(test.asked)
		require.NoError(t, err)
		got, err := (&Destination{}).uploadLocation(&http.Response{
			Request: &http.Request{Method: http.MethodPost, URL: asked}, Header: http.Header{"Location": {test.location}}})
		require.NoError(t, err)
		assert.Equal(t, test.want, got.String(), "%+v", test)
	}
}

func TestWarnings(t *testing.T) {
	h := &host{Host: ocihttp.NewHost("example.com", false)}
	resp := &http.Response{Header: http.Header{"Warning": {`299 - "be \"warned\""`, `299 - "be \"warned\""`, `199 - "x"`, `299 - "x`}}}
	h.logWarnings(resp)
	known := h.warnings[`be "warned"`]
	assert.True(t, known)
}

// TestRefusalsCutNoSecret: a text is cut where half a secret is in it already.
func TestRefusalsCutNoSecret(t *testing.T) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x/", nil)
	require.NoError(t, err)
	req.SetBasicAuth("me", "correct horse")
	resp := &http.Response{
		StatusCode: http.StatusForbidden, Request: req,
		Body: io.NopCloser(strings.NewReader(strings.Repeat(".", maxErrorText-7) + "correct horse")),
	}
	text := newRefusal(resp, time.Now()).Text
	assert.NotContains(t, text, "correct")
	assert.LessOrEqual(t, len(text), maxErrorText)
}
