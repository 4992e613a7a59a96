package ocihttp

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func asking(ctx context.Context, h *Host) *http.Request {
	return (&http.Request{Method: http.MethodGet, URL: &url.URL{Host: h.Name, Path: "/v2/"}, Header: http.Header{}}).WithContext(ctx)
}

// TestAlone has requests in flight, of which one learns something after a second.
func TestAlone(t *testing.T) {
	never, always := func() bool { return false }, func() bool { return true }
	for name, c := range map[string]struct {
		host          func() *Host // made among the goroutines that wait for it
		authenticated func() bool
		alone         bool
	}{
		"the scheme is not known":           {func() *Host { return NewHost("x", true) }, never, true},
		"there are credentials":             {func() *Host { return NewHost("x", false) }, always, true},
		"nobody has to know anything":       {func() *Host { return NewHost("x", false) }, never, false},
		"the scheme is known by an answer":  {func() *Host { return answered(NewHost("x", true)) }, never, false},
		"an answer has said what is wanted": {func() *Host { return answered(NewHost("x", true)) }, always, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				host := c.host()
				var mu sync.Mutex
				inFlight, most := 0, 0 // guarded by mu
				count := func() (now, ever int) {
					mu.Lock()
					defer mu.Unlock()
					return inFlight, most
				}
				bottom := RoundTripFunc(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					inFlight++
					most = max(most, inFlight)
					mu.Unlock()
					time.Sleep(time.Second)
					mu.Lock()
					inFlight--
					mu.Unlock()
					return nil, errors.New("no answer")
				})
				stack := Stack(bottom, host.Alone(c.authenticated))
				for range 3 {
					go func() { _, _ = stack.RoundTrip(asking(t.Context(), host)) }()
				}
				synctest.Wait()
				if c.alone {
					_, ever := count()
					assert.Equal(t, 1, ever)
					ended, cancel := context.WithCancelCause(t.Context())
					reason := errors.New("reason")
					cancel(reason)
					_, err := stack.RoundTrip(asking(ended, host))
					require.ErrorIs(t, err, reason)
					answered(host)
					synctest.Wait()
				}
				now, _ := count()
				assert.Equal(t, 3, now, "nobody waits any more")
				time.Sleep(time.Minute)
			})
		})
	}
}

// answered is h after an answer.
func answered(h *Host) *Host {
	h.learn(&http.Response{StatusCode: http.StatusOK})
	return h
}

func TestLearn(t *testing.T) {
	h := NewHost("registry.example", false)
	answer := func(from, sent, wants string) {
		u, err := url.Parse(from)
		require.NoError(t, err)
		resp := &http.Response{
			StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {wants}},
			Request: &http.Request{URL: u, Header: http.Header{"Authorization": {sent}}},
		}
		bottom := RoundTripFunc(func(*http.Request) (*http.Response, error) { return resp, nil })
		_, err = Stack(bottom, h.Learn).RoundTrip(asking(t.Context(), h))
		require.NoError(t, err)
	}
	wants := func() string {
		if all := h.currentChallenges(); len(all) > 0 {
			return all[0].Scheme
		}
		return ""
	}
	answer("https://cdn.example/v2/", "", "Basic")
	assert.True(t, h.Answered())
	assert.Empty(t, wants(), "that of another host")
	answer("https://registry.example/v2/", "", "Bearer")
	assert.Equal(t, "bearer", wants())
	answer("https://registry.example/v2/", "Bearer x", "Basic")
	assert.Equal(t, "bearer", wants(), "a refused token says nothing else")
	answer("https://registry.example/v2/", "Bearer x", "")
	assert.Equal(t, "bearer", wants())
	answer("https://registry.example/v2/", "", "Basic")
	assert.Equal(t, "basic", wants())
}

func TestOwns(t *testing.T) {
	h := NewHost("registry.example:5000", false)
	for text, want := range map[string]struct{ owns, elsewhere bool }{
		"https://registry.example:5000/x": {true, false},
		"http://registry.example:5000/x":  {false, false},
		"https://Registry.example/x":      {false, false},
		"https://cdn.example:5000/x":      {false, true},
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		assert.Equal(t, want.owns, h.Owns(u), text)
		assert.Equal(t, want.elsewhere, h.Elsewhere(u), text)
	}
}

// TestFindScheme asks servers of both kinds.
func TestFindScheme(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for _, content := range []bool{false, true} {
		for want, server := range map[string]*httptest.Server{"http": plain, "https": secure} {
			host := strings.TrimPrefix(server.URL, want+"://")
			for insecure, other := range map[bool]string{true: "", false: "https"} {
				h := NewHost(host, insecure)
				assert.Equal(t, other, h.Scheme())
				client := &http.Client{Transport: secure.Client().Transport}
				stack := Stack(RoundTripFunc(client.Do), h.FindScheme, Content)
				req := asking(t.Context(), h)
				if content {
					req = sending(t.Context(), "")
					req.URL = &url.URL{Host: h.Name}
				}
				resp, err := stack.RoundTrip(req)
				if !insecure && want == "http" {
					require.Error(t, err)
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, http.StatusNoContent, resp.StatusCode)
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, want, h.Scheme())
				assert.Empty(t, req.URL.Scheme, "the request is left alone")
			}
		}
	}
}

// TestNoScheme asks what does not answer, or not over both.
func TestNoScheme(t *testing.T) {
	h := NewHost("registry.example", true)
	var asked []string
	var mu sync.Mutex
	answers := map[string]int{}
	stack := Stack(RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, req.URL.Scheme)
		if status, ok := answers[req.URL.Scheme]; ok {
			return &http.Response{StatusCode: status, Body: http.NoBody}, nil
		}
		return nil, errors.New(req.URL.Scheme + " is broken")
	}), h.FindScheme)

	_, err := stack.RoundTrip(asking(t.Context(), h))
	require.EqualError(t, err, "http is broken (and over TLS: https is broken)")
	answers["http"] = http.StatusBadRequest
	_, err = stack.RoundTrip(asking(t.Context(), h))
	require.EqualError(t, err, "https is broken", "it is said by servers that speak TLS")
	assert.Empty(t, h.Scheme())

	located := asking(t.Context(), h)
	located.URL.Scheme = "http"
	resp, err := stack.RoundTrip(located)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Empty(t, h.Scheme(), "where a location leads says nothing")

	h.speaks("https")
	asked = nil
	_, err = stack.RoundTrip(asking(t.Context(), h))
	require.EqualError(t, err, "https is broken")
	assert.Equal(t, []string{"https"}, asked)
}
