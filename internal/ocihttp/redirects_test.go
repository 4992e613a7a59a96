package ocihttp

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
