package sparseserver

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// renewAfter is for how long a content counts as just used: its time is renewed at most so often.
const renewAfter = time.Hour

// noteUses renews the time of each content that clients rely on, so that a collection of garbage
// spares it for a while, in this process or another, and lets one that runs know. Failing to renew
// a time fails no request.
func (s *Server) noteUses(next http.Handler, log *slog.Logger) http.Handler {
	return sparseregistry.NoteUses(next, func(u sparseregistry.Use) {
		s.online.Note(u)
		now := clock.System.Now()
		if err := s.registry.store.Touch(u.Digest, now.Add(-renewAfter), now); err != nil {
			log.Warn("a collection of garbage might not spare what was asked for", "error", err)
		}
	})
}

// noteManifest lets a collection that runs know of a manifest that the server itself has stored.
func (s *Server) noteManifest(repository string, d digest.Digest) {
	s.online.Note(sparseregistry.Use{Repository: repository, Manifest: true, Digest: d})
}
