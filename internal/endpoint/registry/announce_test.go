package registry

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestRefusedAnnouncement has a registry that does not tell one repository what it thinks of sparse
// lists. That one does not ask again for ten minutes; it is no answer to the others, and theirs is
// one to it.
func TestRefusedAnnouncement(t *testing.T) {
	for _, refusal := range []registrytest.Answer{
		registrytest.Fail(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"), registrytest.Fail(http.StatusForbidden, "DENIED", "not for you"),
	} {
		var refuses atomic.Bool
		r := registrytest.Start(t, registrytest.Options{
			Announce: &registrytest.Announcement{Sparse: true},
			Script: func(_ int, req *http.Request) registrytest.Answer {
				switch {
				case req.URL.Path == "/v2/": // says nothing, as Quay's
					return registrytest.Answer{Status: http.StatusOK}
				case req.URL.Path == capabilitiesPath && refuses.Load():
					return refusal
				}
				return registrytest.Answer{}
			},
		})
		clock := &clocktest.Shifted{}
		shared, sys := &Shared{Clock: clock}, insecure(t)
		ask := func(repo string) (string, error) {
			d := openDestination(t, r.Host()+"/"+repo+":tag", sys, shared)
			_, err := d.HasManifest(t.Context(), "sha256:0000000000000000000000000000000000000000000000000000000000000000")
			require.NoError(t, err)
			said, err := d.Announcement(t.Context())
			return said.SparseManifests, err
		}
		questions := func() int { return r.Count(registrytest.Is(http.MethodGet, registrytest.KindOther)) }

		refuses.Store(true)
		for range 2 {
			_, err := ask("hidden")
			requireStatus(t, err, refusal.Status)
			assert.Equal(t, 1, questions(), "not asked again")
		}
		refuses.Store(false)
		_, err := ask("hidden")
		requireStatus(t, err, refusal.Status)
		for _, repo := range []string{"open", "another", "hidden"} {
			said, err := ask(repo)
			require.NoError(t, err, repo)
			assert.Equal(t, "true", said, repo)
			assert.Equal(t, 2, questions(), repo)
		}

		refuses.Store(true)
		clock.Advance(factsLast)
		_, err = ask("open")
		requireStatus(t, err, refusal.Status)
		assert.Equal(t, 3, questions(), "after ten minutes")
	}
}
