package sparseserver

import (
	"net/http"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// apiVersion is the header by which clients know a registry, also one that refuses them.
const apiVersion, apiVersionValue = "Docker-Distribution-Api-Version", "registry/2.0"

// withAPIVersion adds the header to every answer of the API, whoever gives it, and to that of the
// capabilities.
func withAPIVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v2/") || r.URL.Path == sparseregistry.CapabilitiesPath {
			w.Header().Set(apiVersion, apiVersionValue)
		}
		next.ServeHTTP(w, r)
	})
}

// withoutAPIVersion takes the header off again, for distribution, which adds it a second time.
func withoutAPIVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Del(apiVersion)
		next.ServeHTTP(w, r)
	})
}
