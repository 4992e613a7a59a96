package ocihttp

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRedirectsCloseContent: what is opened for a redirect is closed, also where that is not
// followed.
func TestRedirectsCloseContent(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/end", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for from, to := range map[string]string{"/here": "/end", "/round": "/round", "/away": "http://127.0.0.1:1/"} {
		mux.Handle(from, http.RedirectHandler(to, http.StatusTemporaryRedirect))
		t.Run(from, func(t *testing.T) {
			var opened, open atomic.Int32
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+from, nil)
			require.NoError(t, err)
			req.ContentLength = 7
			req.GetBody = func() (io.ReadCloser, error) {
				opened.Add(1)
				open.Add(1)
				return openedContent{strings.NewReader("content"), func() { open.Add(-1) }}, nil
			}
			resp, err := Stack(&http.Transport{}, Content, Redirects).RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			assert.Greater(t, opened.Load(), int32(1), "once more for the redirect")
			assert.Eventually(t, func() bool { return open.Load() == 0 }, time.Minute, time.Millisecond)
		})
	}
}

type openedContent struct {
	io.Reader
	closed func()
}

func (c openedContent) Close() error {
	c.closed()
	return nil
}

// TestRedirects leads requests around, and looks at what arrives.
func TestRedirects(t *testing.T) {
	var arrived *http.Request
	var body string
	note := func(w http.ResponseWriter, r *http.Request) {
		content, _ := io.ReadAll(r.Body)
		arrived, body = r, string(content)
	}
	mux, otherMux := http.NewServeMux(), http.NewServeMux()
	own, other := httptest.NewServer(mux), httptest.NewServer(otherMux)
	t.Cleanup(own.Close)
	t.Cleanup(other.Close)
	otherMux.HandleFunc("/end", note)
	otherMux.Handle("/home", http.RedirectHandler(own.URL+"/end", http.StatusTemporaryRedirect))
	lead := func(path, to string, status int) { mux.Handle(path, http.RedirectHandler(to, status)) }
	mux.HandleFunc("/end", note)
	lead("/here", "/end", http.StatusTemporaryRedirect)
	lead("/turned", "/end", http.StatusFound)
	lead("/away", other.URL+"/end", http.StatusTemporaryRedirect)
	lead("/user", strings.Replace(other.URL, "://", "://user:password@", 1)+"/end", http.StatusTemporaryRedirect)
	lead("/round", "/round", http.StatusTemporaryRedirect)
	lead("/back", other.URL+"/home", http.StatusTemporaryRedirect)

	stack := Stack(&http.Transport{}, Redirects)
	send := func(method, path, content string) (*http.Response, error) {
		arrived, body = nil, ""
		req, err := http.NewRequestWithContext(t.Context(), method, own.URL+path+"?secret", strings.NewReader(content))
		require.NoError(t, err)
		req.Header.Set("Authorization", "secret")
		resp, err := stack.RoundTrip(req)
		if err == nil {
			t.Cleanup(func() { _ = resp.Body.Close() })
		}
		return resp, err
	}
	for _, c := range []struct {
		method, path  string
		status        int
		authorization string
	}{
		{"GET", "/here", http.StatusOK, "secret"},
		{"PUT", "/here", http.StatusOK, "secret"},
		{"GET", "/away", http.StatusOK, ""},
		{"HEAD", "/user", http.StatusOK, ""},
		{"GET", "/back", http.StatusOK, ""}, // once away, always away
		{"PUT", "/away", http.StatusTemporaryRedirect, ""},
		{"PUT", "/turned", http.StatusFound, ""},
		{"POST", "/turned", http.StatusFound, ""},
	} {
		resp, err := send(c.method, c.path, "content")
		require.NoError(t, err, c)
		assert.Equal(t, c.status, resp.StatusCode, c)
		if c.status != http.StatusOK {
			assert.Nil(t, arrived, "%v was followed", c)
			continue
		}
		require.NotNil(t, arrived, c)
		assert.Equal(t, c.method, arrived.Method)
		assert.Equal(t, c.authorization, arrived.Header.Get("Authorization"), c)
		assert.Empty(t, arrived.Header.Get("Referer"), c)
		assert.Equal(t, "/end", resp.Request.URL.Path)
		if c.method == "PUT" {
			assert.Equal(t, "content", body)
		}
	}
	resp, err := send("GET", "/round", "")
	var round *redirectError
	require.ErrorAs(t, err, &round)
	assert.Nil(t, resp)
}

// TestRedirectsSendOnce tests that a request goes out once, however it is answered.
func TestRedirectsSendOnce(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		first func(*http.Request) (*http.Response, error)
		want  []string // the paths of what is sent
	}{
		"a success":    {answering(http.StatusOK, ""), []string{"/a"}},
		"a refusal":    {answering(http.StatusNotFound, ""), []string{"/a"}},
		"not modified": {answering(http.StatusNotModified, ""), []string{"/a"}},
		"a redirect":   {answering(http.StatusTemporaryRedirect, "/b"), []string{"/a", "/b"}},
		"an error":     {func(*http.Request) (*http.Response, error) { return nil, broken }, []string{"/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string
			next := RoundTripFunc(func(req *http.Request) (*http.Response, error) {
				sent = append(sent, req.URL.Path)
				if len(sent) == 1 {
					return c.first(req)
				}
				return answering(http.StatusOK, "")(req)
			})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/a", nil)
			require.NoError(t, err)
			resp, err := Redirects(next).RoundTrip(req)
			if name == "an error" {
				inURL, ok := errors.AsType[*url.Error](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, broken, inURL.Err)
			} else {
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
			}
			assert.Equal(t, c.want, sent)
		})
	}
}

// answering answers with a status, and a Location if it is not "".
func answering(status int, location string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}
		if location != "" {
			resp.Header.Set("Location", location)
		}
		return resp, nil
	}
}
