package registry

import (
	"net/http"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// stack makes the layers that requests of r pass, from the top. What is below belongs to the host,
// whose connections all share.
func (r *repository) stack() {
	h := r.host
	r.authorization = &ocihttp.Authorization{
		Host: h.Host, Logins: &r.shared.logins, Credentials: r.creds, Token: r.registryToken, Repository: r.name, UserAgent: r.userAgent,
		Services: h.asks, Asked: func() { r.stats.tokenRequests.Add(1) }, Refuse: r.shared.refuse,
		MostWait: r.shared.Retry.withDefaults().MaxElapsed, Now: r.shared.now,
	}
	hasCredentials := func() bool { return r.creds.Get() != (types.DockerAuthConfig{}) }
	r.layers = ocihttp.Stack(h.asks,
		r.countPulls,
		h.ahead.Begin,
		h.Alone(hasCredentials),
		h.limit.Limit,
		r.authorization.Authorize,
		ocihttp.Before(func() { r.stats.requests.Add(1) }),
		ocihttp.Answers(h.notice),
		h.Learn,
		h.FindScheme,
		ocihttp.Pace(h.rate),
	)
}

// stack makes the layers at the bottom, which are those of requests for tokens, too.
func (h *host) stack(limits ocihttp.Timeouts) {
	h.asks = ocihttp.Stack(h.transport,
		ocihttp.Describe(h.Answered),
		ocihttp.Content,
		ocihttp.Stall(limits),
		ocihttp.Redirects,
	)
}

func (s *Shared) refuse(resp *http.Response, tokenService bool) ocihttp.Refusal {
	no := newRefusal(resp, s.now())
	no.TokenService = tokenService
	return no
}

// scopes are what a request of r needs; mountFrom is the repository that it mounts from, or "".
func (r *repository) scopes(mountFrom string) []string {
	scopes := []string{"repository:" + r.name + ":" + r.actions}
	if mountFrom != "" && mountFrom != r.name {
		scopes = append(scopes, "repository:"+mountFrom+":pull")
	}
	return scopes
}
