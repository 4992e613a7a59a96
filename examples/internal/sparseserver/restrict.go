package sparseserver

import (
	"net/http"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// restrict answers 405 to what c switches off. distribution is told, too; what it answers does not
// say why.
func restrict(next http.Handler, c Config) http.Handler {
	switch {
	case c.ReadOnly:
		return allowing(next, "read_only", "GET, HEAD, OPTIONS", "the registry is read-only",
			func(r *http.Request) bool { return isRead(r.Method) })
	case c.NoDelete:
		// An upload is not there yet: its client may give it up.
		return allowing(next, "no_delete", "GET, HEAD, OPTIONS, POST, PUT, PATCH", "deletion is switched off in this registry",
			func(r *http.Request) bool {
				return r.Method != http.MethodDelete || uploadOf(r.URL.Path) != ""
			})
	}
	return next
}

// allowing passes on the requests that are allowed. The others are answered with message, and
// denied for reason.
func allowing(next http.Handler, reason, methods, message string, allowed func(*http.Request) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if allowed(r) {
			next.ServeHTTP(w, r)
			return
		}
		noteReason(r, reason)
		w.Header().Set("Allow", methods)
		_ = errcode.ServeJSON(w, errcode.ErrorCodeUnsupported.WithMessage(message)) // only the client can make it fail, by leaving
	})
}

func isRead(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// uploadOf is the name of the upload that a path is about, "" if that is none that has begun.
func uploadOf(path string) string {
	if p, ok := sparseregistry.ParsePath(path); ok && p.Kind == sparseregistry.Uploads {
		return p.Reference
	}
	return ""
}
