package registry

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"go.podman.io/image/v5/docker/reference"
)

// pullsKey says whose pulls are counted together.
type pullsKey struct {
	host    string
	account ocihttp.Account
}

// RateLimits returns what registries have said about how much may be pulled from them, by the names
// of registries and users. Limits that have ended are not among it.
func (s *Shared) RateLimits() []ocihttp.RateLimit {
	s.mu.Lock()
	defer s.mu.Unlock()
	var limits []ocihttp.RateLimit
	for _, p := range s.pulls {
		if limit, ok := p.Stated(); ok {
			limits = append(limits, limit)
		}
	}
	slices.SortFunc(limits, func(a, b ocihttp.RateLimit) int {
		return cmp.Or(cmp.Compare(a.Registry, b.Registry), cmp.Compare(a.User, b.User))
	})
	return limits
}

// pullsOf are the pulls that r makes with the credentials that it has now.
func (r *repository) pullsOf() *ocihttp.Pulls {
	s, account := r.shared, r.account()
	s.mu.Lock()
	defer s.mu.Unlock()
	return bounded.GetOrAdd(&s.pulls, pullsKey{r.host.Name, account}, maxKnown, func() *ocihttp.Pulls {
		return &ocihttp.Pulls{
			Registry: reference.Domain(r.ref), User: account.Auth.Username, Remain: s.MinRemaining,
			MostWait: s.Retry.withDefaults().MaxElapsed, Clock: s.clock(),
		}
	})
}

// countPulls is the layer that counts what is pulled from sources, and holds it back. What a
// destination is asked for has to be asked.
func (r *repository) countPulls(next http.RoundTripper) http.RoundTripper {
	if r.actions != "pull" {
		return next
	}
	return ocihttp.RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		return r.pullsOf().Count(next).RoundTrip(req)
	})
}

// refusedPull is the error of a pull that was answered with no, a 429.
func (r *repository) refusedPull(no *refusal) error {
	if r.actions != "pull" {
		return no
	}
	return r.pullsOf().Refused(no)
}
