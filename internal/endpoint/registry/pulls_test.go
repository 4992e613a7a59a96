package registry

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestRateLimits reads manifests until no more than two pulls are left, at registries that say so
// in all ways, and again when there are more.
func TestRateLimits(t *testing.T) {
	for name, c := range map[string]struct {
		states func(registrytest.LimitState) http.Header
		window time.Duration // as it is stated
		said   time.Duration // after which there are more, at the latest
	}{
		"Docker Hub":   {registrytest.DockerHubLimit, 6 * time.Hour, 6 * time.Hour},
		"GitHub":       {registrytest.GitHubLimit, 0, time.Hour},
		"draft":        {registrytest.DraftLimit, 6 * time.Hour, 6 * time.Hour},
		"it says none": {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clock := clocktest.New(time.Time{})
			r := registrytest.Start(t, registrytest.Options{RateLimit: &registrytest.RateLimit{Limit: 8, Window: 6 * time.Hour, States: c.states, Clock: clock}})
			im := newImage(t, 1, 100, r, "a", "b")
			shared := &Shared{Clock: clock, MinRemaining: 2, Retry: RetryPolicy{Attempts: 1}}
			read := func(repository string) error {
				s, err := OpenSource(t.Context(), parseRef(t, r.Host()+"/"+repository+":tag"), insecure(t), shared)
				if err == nil {
					err = s.Close()
				}
				return err
			}
			pulls := func() int { return r.Count(registrytest.Is(http.MethodGet, registrytest.KindManifest)) }
			for range 3 {
				require.NoError(t, read("a"))
				require.NoError(t, read("b"))
			}
			err := read("a")
			if c.states == nil {
				require.NoError(t, err)
				assert.Empty(t, shared.RateLimits())
				return
			}
			var held *ocihttp.RateLimitError
			require.ErrorAs(t, err, &held)
			want := ocihttp.RateLimit{Registry: r.Host(), Limit: 8, Remaining: 2, Window: c.window, Until: clocktest.Start.Add(c.said), Said: clocktest.Start}
			assert.Equal(t, &ocihttp.RateLimitError{RateLimit: want, MinRemaining: 2}, held)
			assert.Equal(t, []ocihttp.RateLimit{want}, shared.RateLimits())
			assert.Equal(t, 6, pulls())

			d := openDestination(t, r.Host()+"/a:tag", insecure(t), shared)
			_, err = d.Manifest(t.Context(), im.manifest.Digest)
			require.NoError(t, err, "what the destination has must be known")

			clock.Advance(6 * time.Hour)
			assert.Empty(t, shared.RateLimits())
			require.NoError(t, read("b"))
			assert.Equal(t, 7, shared.RateLimits()[0].Remaining)
		})
	}
}

// TestRateLimitsAreOfAccounts who have their own pulls.
func TestRateLimitsAreOfAccounts(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{
		Auth:      &registrytest.Auth{Accounts: []registrytest.Account{{Username: "alice", Password: "a"}, {Username: "bob", Password: "b"}}},
		RateLimit: &registrytest.RateLimit{Limit: 2, Window: time.Hour, States: registrytest.DockerHubLimit},
	})
	newImage(t, 1, 100, r, "a")
	shared := quick()
	for _, user := range []string{"bob", "alice"} {
		sys := insecure(t)
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: user[:1]}
		openSource(t, r.Host()+"/a:tag", sys, shared)
	}
	var users []string
	for _, limit := range shared.RateLimits() {
		users = append(users, fmt.Sprint(limit.User, " ", limit.Remaining))
	}
	assert.Equal(t, []string{"alice 0", "bob 1"}, users)
}

// TestRefusedForALimit is what Docker Hub answers when others have pulled meanwhile.
func TestRefusedForALimit(t *testing.T) {
	r := registrytest.Start(t, registrytest.Options{RateLimit: &registrytest.RateLimit{Limit: 1, Window: 6 * time.Hour, States: registrytest.DockerHubLimit}})
	newImage(t, 1, 100, r, "a")
	openSource(t, r.Host()+"/a:tag", insecure(t), quick())

	shared := quick()
	_, err := OpenSource(t.Context(), parseRef(t, r.Host()+"/a:tag"), insecure(t), shared)
	var held *ocihttp.RateLimitError
	require.ErrorAs(t, err, &held)
	assert.Zero(t, held.Remaining)
	requireStatus(t, err, http.StatusTooManyRequests)
	assert.ErrorContains(t, err, "You have reached your pull rate limit")
	assert.Equal(t, 2, r.Count(registrytest.Is(http.MethodGet, registrytest.KindManifest)), "it is not tried again")
}
