package registry

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// signed reports whether a request came by a URL that a redirect has led to.
func signed(req *http.Request) bool { return req.URL.Query().Has("signature") }

// Segments are asked for where the first redirect has led, without what is the registry's, until
// they are turned away there: then the registry is asked for another redirect.
func TestTarget(t *testing.T) {
	const size = 300_000
	refused := func(status int) registrytest.Answer { return registrytest.FailHTML(status) }
	for _, test := range []struct {
		name      string
		script    registrytest.Script // for requests that were led somewhere
		redirects int                 // how many there are at most
		anew      bool                // a segment is asked for again, after a while
	}{
		{"stays", nil, 1, false},
		{"ends", registrytest.OnNth(12, refused(http.StatusForbidden)), 9, false},
		{"ends with 401", registrytest.OnNth(12, refused(http.StatusUnauthorized)), 9, false},
		{"ends with 400", registrytest.OnNth(12, refused(http.StatusBadRequest)), 9, false},
		{"is busy", registrytest.OnNth(12, refused(http.StatusServiceUnavailable)), 9, true},
		{"breaks off", registrytest.OnNth(12, registrytest.CutBody(100)), 9, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := registrytest.Options{
				RedirectBlobs: true, Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true}, // which a signed URL refuses
			}
			if test.script != nil {
				o.Script = registrytest.Only(signed, test.script)
			}
			r := registrytest.Start(t, o)
			im := newImage(t, 1, size, r, "a")
			s := openRanged(t, r.Host()+"/a:tag", quick(), 4)
			got, err := readAs(t.Context(), s, im.blobs[0])
			require.NoError(t, err)
			require.Equal(t, contentOf(t, im, im.blobs[0]), got)
			redirects := 0
			for _, q := range r.Requests() {
				switch {
				case q.Kind != registrytest.KindBlob:
				case q.Second:
					assert.Empty(t, q.Authorization())
				case q.Status == http.StatusTemporaryRedirect:
					redirects++
				}
			}
			assert.LessOrEqual(t, redirects, test.redirects, "each connection asks for its own when the first has ended")
			assert.Equal(t, test.script != nil, redirects > 1)
			assert.Equal(t, test.anew, s.Stats().Retries > 0)
			assert.Greater(t, len(parts(r)), 15, "segments are asked for before and after")
		})
	}
}

// Of a registry whose URLs are good for one request each, no more than two are tried again.
func TestTargetOfOneRequest(t *testing.T) {
	var mu sync.Mutex
	used := map[string]bool{}
	r := registrytest.Start(t, registrytest.Options{RedirectBlobs: true, Script: func(_ int, req *http.Request) registrytest.Answer {
		mu.Lock()
		defer mu.Unlock()
		if signature := req.URL.Query().Get("signature"); signature != "" && used[signature] {
			return registrytest.FailHTML(http.StatusForbidden)
		} else if signature != "" {
			used[signature] = true
		}
		return registrytest.Answer{}
	}})
	im := newImage(t, 1, 300_000, r, "a")
	s := openRanged(t, r.Host()+"/a:tag", quick(), 2)
	got, err := readAs(t.Context(), s, im.blobs[0])
	require.NoError(t, err)
	require.Equal(t, contentOf(t, im, im.blobs[0]), got)
	refused := r.Count(func(q registrytest.Request) bool { return q.Status == http.StatusForbidden })
	assert.Positive(t, refused)
	assert.LessOrEqual(t, refused, 2*mostSpent)
	assert.Zero(t, s.Stats().Retries)
}

// What is known of a target is about the URL that it is about.
func TestTargetMoves(t *testing.T) {
	led := func(to string) *http.Response {
		u, err := url.Parse(to)
		require.NoError(t, err)
		return &http.Response{Request: &http.Request{URL: u, Response: &http.Response{}}}
	}
	var at target
	at.learn(&http.Response{Request: &http.Request{URL: &url.URL{Host: "registry"}}})
	require.Nil(t, at.current(), "no redirect has led there")
	at.learn(led("https://first"))
	first := at.current()
	require.Equal(t, "https://first", first.String())
	at.learn(led("https://second"))
	at.forget(first)
	at.serves(first)
	second := at.current()
	require.Equal(t, "https://second", second.String(), "it is not the one that has ended")
	at.forget(second)
	require.Nil(t, at.current())
	require.Equal(t, 1, at.spent, "nor the one that has served")
	at.learn(led("https://third"))
	at.serves(at.current())
	at.forget(at.current())
	require.Equal(t, 1, at.spent)
	for at.spent < mostSpent {
		at.learn(led("https://once"))
		at.forget(at.current())
	}
	at.learn(led("https://once"))
	assert.Nil(t, at.current(), "each was good for one request")
}

// A URL to which a redirect has led is told to nobody, in whatever way it ends.
func TestTargetIsSecret(t *testing.T) {
	var said bytes.Buffer
	level := logrus.GetLevel()
	logrus.SetLevel(logrus.TraceLevel)
	logrus.SetOutput(&said)
	defer func() {
		logrus.SetLevel(level)
		logrus.SetOutput(os.Stderr)
	}()
	var mu sync.Mutex
	var secrets []string
	for name, end := range map[string]registrytest.Answer{
		"refused": registrytest.FailHTML(http.StatusForbidden), "busy": registrytest.FailHTML(http.StatusServiceUnavailable),
		"closed": registrytest.Close(), "broken off": registrytest.CutBody(100), "another range": {Status: http.StatusPartialContent},
	} {
		end.Header = http.Header{"X-Test": {name}}
		r := registrytest.Start(t, registrytest.Options{RedirectBlobs: true, Script: func(_ int, req *http.Request) registrytest.Answer {
			if !signed(req) {
				return registrytest.Answer{}
			}
			mu.Lock()
			defer mu.Unlock()
			secrets = append(secrets, req.URL.Query().Get("signature"))
			if req.Header.Get("Range") == "" {
				return registrytest.CutBody(50_000)
			}
			return end
		}})
		im := newImage(t, 1, 300_000, r, "a")
		s := openRanged(t, r.Host()+"/a:tag", quick(), 4)
		s.shared.Retry.Attempts = 2
		_, err := readAs(t.Context(), s, im.blobs[0])
		require.Error(t, err, name)
		said.WriteString(err.Error())
	}
	mu.Lock()
	defer mu.Unlock()
	for _, secret := range secrets {
		assert.NotContains(t, said.String(), secret)
	}
	assert.Contains(t, said.String(), "/storage/a/", "requests are logged")
}
