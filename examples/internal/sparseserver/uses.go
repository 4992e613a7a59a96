package sparseserver

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// renewAfter is for how long a content counts as just used: its time is renewed at most so often.
const renewAfter = time.Hour

// noteUses renews the time of each content that clients rely on, so that a collection of garbage
// spares it for a while, in this process or another. Failing to do so fails no request.
func noteUses(next http.Handler, store *registrystore.Store, log *slog.Logger) http.Handler {
	return sparseregistry.NoteUses(next, func(u sparseregistry.Use) {
		now := clock.System.Now()
		if err := store.Touch(u.Digest, now.Add(-renewAfter), now); err != nil {
			log.Warn("a collection of garbage might not spare what was asked for", "error", err)
		}
	})
}
