package registries

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// limitHours is the window of the limits here.
const limitHours = 6 * time.Hour

// limitedPulls copies an image, which takes three pulls of five, at a registry that states its
// limit so. The copies are Copiers' second: another program has made the first.
func limitedPulls(t *testing.T, states func(registrytest.LimitState) http.Header) {
	limit := &registrytest.RateLimit{Limit: 5, Window: limitHours, States: states}
	c := newTimed(t, registrytest.Options{RateLimit: limit}, registrytest.Options{})
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{MinRemaining: 2, Retries: quick}), "two are to remain, and do")

	c.dst.DeleteTag("app", "v1")
	err := c.copy(t.Context(), copy.CopierOptions{MinRemaining: 2, Retries: quick})
	held := requireHeld(t, err)
	assert.Equal(t, 2, held.MinRemaining)
	assert.Equal(t, 1, held.Remaining, "one had to be made to know it")
	assert.Equal(t, 5, held.Limit)

	err = c.copy(t.Context(), copy.CopierOptions{Retries: quick})
	held = requireHeld(t, err)
	assert.Zero(t, held.Remaining)
	assert.Equal(t, 5, c.src.Count(func(q registrytest.Request) bool {
		return registrytest.Is(http.MethodGet, registrytest.KindManifest)(q) && q.Status == http.StatusOK
	}), "none left")
}

// requireHeld wants the error of a source that must not be asked.
func requireHeld(t *testing.T, err error) *copy.RateLimitError {
	t.Helper()
	var failed *copy.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, copy.SourceSide, failed.Side)
	var held *copy.RateLimitError
	require.ErrorAs(t, err, &held)
	assert.ErrorContains(t, err, "until "+held.Until.UTC().Format("2006-01-02 15:04:05 UTC")+" at the latest")
	assert.WithinRange(t, held.Until, held.Said.Add(time.Minute), held.Said.Add(limitHours))
	return held
}

func dockerHubPulls(t *testing.T) { limitedPulls(t, registrytest.DockerHubLimit) }

func limitsInOtherWords(t *testing.T) {
	t.Run("GitHub", func(t *testing.T) { limitedPulls(t, registrytest.GitHubLimit) })
	t.Run("draft", func(t *testing.T) { limitedPulls(t, registrytest.DraftLimit) })
}

// limitWithoutNumber states a limit without saying how much of it is left.
func limitWithoutNumber(t *testing.T) {
	states := func(registrytest.LimitState) http.Header {
		return http.Header{"Ratelimit-Limit": {";w=21600"}, "Ratelimit-Remaining": {";w=21600"}}
	}
	c := newTimed(t, registrytest.Options{RateLimit: &registrytest.RateLimit{Limit: 50, Window: limitHours, States: states}}, registrytest.Options{})
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{MinRemaining: 50, Retries: quick}))
}

// retryAfterTime says in Unix time when it wants to be asked again.
func retryAfterTime(t *testing.T) {
	again := registrytest.Fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "later")
	again.Header = http.Header{"Retry-After": {strconv.FormatInt(time.Now().Add(time.Second).Unix(), 10)}}
	c := newTimed(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindBlob), registrytest.FirstN(1, again))}, registrytest.Options{})
	require.NoError(t, c.copy(t.Context(), copy.CopierOptions{Retries: quick}))
}
