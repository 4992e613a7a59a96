package sparseregistry

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Use is of a manifest or a blob that a client was told is in a repository, or has stored there.
type Use struct {
	Repository string
	Manifest   bool // else a blob
	Digest     digest.Digest
}

// NoteUses returns a handler that calls note for everything that next, the handler of a registry,
// says is there: in answer to GET, HEAD and PUT, and to a mount. It does so before the answer is
// sent; twice if the client asked by a digest that is not the one that next answers with. A client
// that is told that what it has is not modified (304) is told so of the digests in its
// If-None-Match, too. note may be called concurrently.
func NoteUses(next http.Handler, note func(Use)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, ok := askedFor(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		h := &headerWriter{ResponseWriter: w}
		h.before = func(status int) {
			if !saysItIsThere(r.Method, status) {
				return
			}
			said := []string{w.Header().Get("Docker-Content-Digest"), string(asked.Digest)}
			if status == http.StatusNotModified { // by what the client has
				said = append(said, r.Header.Values("If-None-Match")...)
			}
			noted := map[digest.Digest]bool{}
			for _, text := range said {
				d := digest.Digest(strings.Trim(text, `"`))
				if d.Validate() == nil && !noted[d] {
					noted[d] = true
					note(Use{asked.Repository, asked.Manifest, d})
				}
			}
		}
		next.ServeHTTP(h, r)
		h.finish()
	})
}

// askedFor is what r is about, with a digest that need not be one. ok is false if r can use
// nothing.
func askedFor(r *http.Request) (use Use, ok bool) {
	t, err := parseContentPath(r.URL.Path)
	if err != nil {
		return Use{}, false
	}
	if t.Kind != "" {
		return Use{t.Repository, t.Kind == Manifests, digest.Digest(t.Reference)}, r.Method != http.MethodDelete
	}
	upload, ok := ParsePath(r.URL.Path)
	if !ok || upload.Kind != Uploads {
		return Use{}, false
	}
	switch query := r.URL.Query(); r.Method {
	case http.MethodPost:
		return Use{upload.Repository, false, digest.Digest(query.Get("mount"))}, true
	case http.MethodPut:
		return Use{upload.Repository, false, digest.Digest(query.Get("digest"))}, true
	}
	return Use{}, false
}

func saysItIsThere(method string, status int) bool {
	switch method {
	case http.MethodPut, http.MethodPost:
		return status == http.StatusCreated
	default: // a blob may be handed out elsewhere
		return status == http.StatusOK || status == http.StatusPartialContent ||
			status == http.StatusTemporaryRedirect || status == http.StatusNotModified
	}
}
