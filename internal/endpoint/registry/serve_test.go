package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve runs a handler on plain HTTP and returns its host.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
