package registrytest

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A RateLimit allows a number of pulls, which are GETs of manifests, within any Window: 429
// TOOMANYREQUESTS for those beyond it, as Docker Hub answers. HEADs are not counted. All clients
// count as one.
type RateLimit struct {
	Limit  int
	Window time.Duration
	// States is what answers to GET and HEAD of manifests say; nil for nothing.
	States func(LimitState) http.Header
	// Clock is the one by which pulls grow old; nil for the machine's.
	Clock clock.Clock
}

// A LimitState is how much of a RateLimit is left.
type LimitState struct {
	Limit, Remaining int
	Window           time.Duration
	Now, Reset       time.Time // Reset is when one more is allowed, Now if some are
}

// DockerHubLimit states a limit as Docker Hub does in 2026: without a time at which it ends.
func DockerHubLimit(s LimitState) http.Header {
	window := strconv.Itoa(int(s.Window.Seconds()))
	return http.Header{
		"Ratelimit-Limit":         {fmt.Sprintf("%d;w=%s", s.Limit, window)},
		"Ratelimit-Remaining":     {fmt.Sprintf("%d;w=%s", s.Remaining, window)},
		"Docker-Ratelimit-Source": {"192.0.2.1"},
	}
}

// GitHubLimit states a limit as GitHub does in 2026: with the Unix time at which it ends.
func GitHubLimit(s LimitState) http.Header {
	return http.Header{
		"X-Ratelimit-Limit":     {strconv.Itoa(s.Limit)},
		"X-Ratelimit-Remaining": {strconv.Itoa(s.Remaining)},
		"X-Ratelimit-Reset":     {strconv.FormatInt(s.Reset.Unix(), 10)},
	}
}

// DraftLimit states a limit as draft-ietf-httpapi-ratelimit-headers-10 has it.
func DraftLimit(s LimitState) http.Header {
	return http.Header{
		"Ratelimit-Policy": {fmt.Sprintf(`"pulls";q=%d;w=%d`, s.Limit, int(s.Window.Seconds()))},
		"Ratelimit":        {fmt.Sprintf(`"pulls";r=%d;t=%d`, s.Remaining, int(s.Reset.Sub(s.Now).Seconds()))},
	}
}

// pulls are those that a RateLimit counts.
type pulls struct {
	mu sync.Mutex
	at []time.Time // of those within the window, in their order; guarded by mu
}

// limited states the rate limit, and counts the request if it is a pull. It reports whether the
// request has been refused.
func (x *exchange) limited() bool {
	limit := x.opts.RateLimit
	if limit == nil || x.req.Method != http.MethodGet && x.req.Method != http.MethodHead {
		return false
	}
	state, refused := x.pulls.count(*limit, x.req.Method == http.MethodGet)
	if limit.States != nil {
		x.w.Header().Set("Date", state.Now.UTC().Format(http.TimeFormat))
		for key, values := range limit.States(state) {
			x.w.Header()[key] = values
		}
	}
	if refused {
		x.refuse(http.StatusTooManyRequests, Error{Code: "TOOMANYREQUESTS", Message: "You have reached your pull rate limit."})
	}
	return refused
}

// count counts a request, unless it is a pull beyond the limit.
func (p *pulls) count(limit RateLimit, pull bool) (state LimitState, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := clock.Or(limit.Clock).Now()
	for len(p.at) > 0 && !now.Before(p.at[0].Add(limit.Window)) {
		p.at = p.at[1:]
	}
	refused = pull && len(p.at) >= limit.Limit
	if pull && !refused {
		p.at = append(p.at, now)
	}
	state = LimitState{Limit: limit.Limit, Remaining: limit.Limit - len(p.at), Window: limit.Window, Now: now, Reset: now}
	if state.Remaining == 0 && len(p.at) > 0 {
		state.Reset = p.at[0].Add(limit.Window)
	}
	return state, refused
}
