package registry

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
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

// An asker asks a registry what it announces, and counts the questions.
type asker struct {
	*testing.T
	registry *registrytest.Registry
	shared   *Shared
	clock    *clocktest.Shifted
	sys      *types.SystemContext
}

// newAsker starts a registry that wants a password, and no challenge but that of /v2/: so headers
// are seen. With quiet, it announces nothing in headers.
func newAsker(t *testing.T, announce *registrytest.Announcement, quiet bool) *asker {
	clock := &clocktest.Shifted{}
	a := &asker{T: t, shared: &Shared{Clock: clock}, clock: clock, sys: withPassword(insecure(t))}
	a.registry = registrytest.Start(t, registrytest.Options{
		Announce: announce,
		Auth:     &registrytest.Auth{Accounts: []registrytest.Account{{Username: user, Password: password}}},
		Script: func(_ int, req *http.Request) registrytest.Answer {
			switch anonymous := req.Header.Get("Authorization") == ""; {
			case req.URL.Path == "/v2/" && quiet && anonymous:
				return registrytest.Answer{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Basic realm="x"`}}}
			case req.URL.Path == "/v2/" && anonymous:
				header := http.Header{
					"Www-Authenticate": {`Basic realm="x"`}, "X-Sparse-Manifest-Support": {strconv.FormatBool(announce.Sparse)},
					"X-Required-Architectures": announce.Architectures,
				}
				if announce.More != nil {
					header.Set("X-Required-Without-Platform", strconv.FormatBool(announce.More.WithoutPlatform))
				}
				return registrytest.Answer{Status: http.StatusUnauthorized, Header: header}
			case anonymous && req.URL.Path != capabilitiesPath:
				return registrytest.Answer{Status: http.StatusUnauthorized}
			}
			return registrytest.Answer{}
		},
	})
	return a
}

// ask returns what is announced to repo, and how many requests that took.
func (a *asker) ask(repo string) (endpoint.Announcement, int, error) {
	a.Helper()
	d := openDestination(a.T, a.registry.Host()+"/"+repo+":tag", a.sys, a.shared)
	_, err := d.HasManifest(a.Context(), "sha256:0000000000000000000000000000000000000000000000000000000000000000")
	require.NoError(a, err)
	_, err = d.Announcement(a.Context())
	require.NoError(a, err)
	before := a.registry.Count(asksForAnnouncement)
	said, err := d.OwnAnnouncement(a.Context())
	return said, a.registry.Count(asksForAnnouncement) - before, err
}

// asksForAnnouncement is any request that is made only to learn what a registry announces.
func asksForAnnouncement(q registrytest.Request) bool {
	return q.Path == capabilitiesPath || q.Path == "/v2/" && q.Query != ""
}

// want demands an answer, and how many requests it took.
func (a *asker) want(repo string, want endpoint.Announcement, requests int) {
	a.Helper()
	said, asked, err := a.ask(repo)
	require.NoError(a, err, repo)
	said.Widening = "" // a document says false where headers say nothing
	assert.Equal(a, want, said, repo)
	assert.Equal(a, requests, asked, repo)
}

var (
	forAll = endpoint.Announcement{SparseManifests: "false", RequiredWithoutPlatform: "true"}
	forArm = endpoint.Announcement{SparseManifests: "true", RequiredPlatforms: "linux/arm/v7", RequiredWithoutPlatform: "true"}
)

// TestOwnAnnouncement has a registry whose repositories differ. It is asked with the credentials of
// the repository, once in ten minutes.
func TestOwnAnnouncement(t *testing.T) {
	arm := &registrytest.Announcement{Sparse: true, More: &registrytest.MoreAnnounced{Platforms: []string{"linux/arm/v7"}, WithoutPlatform: true}}
	for name, quiet := range map[string]bool{"in headers": false, "in a document": true} {
		t.Run(name, func(t *testing.T) {
			a := newAsker(t, &registrytest.Announcement{
				More: &registrytest.MoreAnnounced{WithoutPlatform: true, Repositories: map[string]*registrytest.Announcement{"team/arm": arm}},
			}, quiet)
			for range 2 {
				a.want("team/arm", forArm, 1)
				a.want("team/arm", forArm, 0)
				a.want("other", forAll, 1)
				a.want("other", forAll, 0)
				a.clock.Advance(factsLast)
			}
		})
	}
}

// TestOwnAnnouncementIsThatForAll where the registry does not know the question: it is not asked if
// it has not the fields that come with the answer, and else answers for all.
func TestOwnAnnouncementIsThatForAll(t *testing.T) {
	for name, quiet := range map[string]bool{"in headers": false, "in a document": true} {
		t.Run(name, func(t *testing.T) {
			quay := newAsker(t, &registrytest.Announcement{}, quiet)
			quay.want("a", endpoint.Announcement{SparseManifests: "false"}, 0)
			quay.want("b", endpoint.Announcement{SparseManifests: "false"}, 0)

			deaf := newAsker(t, &registrytest.Announcement{More: &registrytest.MoreAnnounced{WithoutPlatform: true}}, quiet)
			deaf.want("a", forAll, 1)
			deaf.want("a", forAll, 0)
		})
	}
}

// TestOwnAnnouncementIsNotGiven has a registry that says what holds for all, and then does not
// answer for one: nothing is known of that one, and others are asked for.
func TestOwnAnnouncementIsNotGiven(t *testing.T) {
	registry := registrytest.Start(t, registrytest.Options{
		Announce: &registrytest.Announcement{More: &registrytest.MoreAnnounced{WithoutPlatform: true}},
		Script: func(_ int, req *http.Request) registrytest.Answer {
			if req.URL.Query().Get("repository") == "a" {
				return registrytest.Fail(http.StatusForbidden, "DENIED", "no")
			}
			return registrytest.Answer{}
		},
	})
	a := &asker{t, registry, &Shared{}, nil, insecure(t)}
	for _, requests := range []int{1, 0} {
		_, asked, err := a.ask("a")
		requireStatus(t, err, http.StatusForbidden)
		assert.Equal(t, requests, asked)
	}
	a.want("b", forAll, 1)
}
