package sparseregistry_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

func TestTheRegistryBehindSaysWhoMayRead(t *testing.T) {
	for _, c := range []struct {
		name       string
		repository string
		answer     http.HandlerFunc
		status     int // of the refusal; 0 if it is granted
		code       string
		message    string
	}{
		{"404", "a/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 0, "", ""},
		{"a domain", "Registry.Example-1/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, 0, "", ""},
		{"200", "a/b", func(http.ResponseWriter, *http.Request) {}, 0, "", ""},
		{
			"401", "a/b", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			},
			401, "UNAUTHORIZED", "access to the repository is refused",
		},
		{"403", "a/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, 403, "DENIED", "access to the repository is refused"},
		{"429", "a/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, 429, "TOOMANYREQUESTS", "access to the repository is refused"},
		{"503", "a/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 503, "UNAVAILABLE", "access to the repository is refused"},
		{"400", "a/b", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, 502, "UNKNOWN", "asking for access to the repository: the registry answered 400"},
		{"307", "a/b", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 502, "UNKNOWN", "asking for access to the repository: the registry answered 307"},
		{"panic", "a/b", func(http.ResponseWriter, *http.Request) { panic("no") }, 502, "UNKNOWN", "asking for access to the repository: the registry panicked: no"},
		{"no name", "A", nil, 400, "NAME_INVALID", `"A" is not the name of a repository`},
		{"no path", "a/../b", nil, 400, "NAME_INVALID", `"a/../b" is not the name of a repository`},
	} {
		t.Run(c.name, func(t *testing.T) {
			behind := &spy{respond: c.answer}
			r := httptest.NewRequest(http.MethodGet, "/any?repository=x", nil)
			r.Header = http.Header{"Authorization": {"Basic eA=="}, "Range": {"bytes=0-1"}}
			permission := sparseregistry.AskToRead(behind, r, c.repository)
			if c.answer != nil {
				require.Len(t, behind.requests, 1)
				asked := behind.requests[0]
				assert.Equal(t, http.MethodHead, asked.Method)
				assert.Equal(t, "/v2/"+c.repository+"/manifests/"+digest.FromString("").String(), asked.RequestURI)
				assert.Equal(t, []string{"Basic eA=="}, asked.Header["Authorization"])
				assert.NotContains(t, asked.Header, "Range")
			} else {
				assert.Empty(t, behind.requests)
			}
			require.Equal(t, c.status == 0, permission.Granted())
			if c.status == 0 {
				return
			}
			w := httptest.NewRecorder()
			permission.Refuse(w)
			wantRefusal(t, sparsetest.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}, c.status, c.code, c.message)
			if c.status == http.StatusUnauthorized {
				assert.Equal(t, `Bearer realm="x"`, w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}
