package ocihttp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// A Host is what layers have learned about one registry. It may be used concurrently.
type Host struct {
	Name string // host[:port] that requests go to

	first    turns.Turn    // of the request that finds out what settled stands for
	settled  chan struct{} // closed when the host has answered once
	answered atomic.Bool   // whether settled is closed

	mu         sync.Mutex
	scheme     string      // "" until known; guarded by mu
	challenges []Challenge // of the last 401; guarded by mu

	pinging sync.Mutex // held while asking for challenges
	pinged  bool       // GET /v2/ was answered; guarded by pinging

	tokens tokenCache
}

// NewHost returns a Host of which nothing is known. Plain HTTP is tried only if insecure is set.
func NewHost(name string, insecure bool) *Host {
	h := &Host{Name: name, settled: make(chan struct{})}
	if !insecure {
		h.scheme = "https"
	}
	return h
}

// Scheme is what the host speaks, "" if that is not known.
func (h *Host) Scheme() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.scheme
}

// Answered reports whether the host has answered once.
func (h *Host) Answered() bool { return h.answered.Load() }

// Owns reports whether u is at the host itself, where credentials may go and whose challenges
// count.
func (h *Host) Owns(u *url.URL) bool {
	return sameOrigin(u, &url.URL{Scheme: h.Scheme(), Host: h.Name})
}

// Elsewhere reports whether u is at a host with another name, whatever scheme and port.
func (h *Host) Elsewhere(u *url.URL) bool {
	return !strings.EqualFold(u.Hostname(), (&url.URL{Host: h.Name}).Hostname())
}

func (h *Host) currentChallenges() []Challenge {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.challenges
}

// Tokens is how many tokens are held.
func (h *Host) Tokens() int {
	h.tokens.mu.Lock()
	defer h.tokens.mu.Unlock()
	return len(h.tokens.entries)
}

// speaks notes that the host has answered over scheme.
func (h *Host) speaks(scheme string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.scheme == "" {
		h.scheme = scheme
	}
}

// Alone is the layer that lets one request at a time go as long as the host has not answered: if
// its scheme is not known, or if the request may have to be authorized, which authenticated
// reports. The others then know how.
func (h *Host) Alone(authenticated func() bool) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
			if h.Answered() || h.Scheme() != "" && !authenticated() {
				return next.RoundTrip(req)
			}
			done, _, err := h.first.TakeUnless(req.Context(), h.settled)
			if err != nil {
				return nil, err
			}
			defer done()
			return next.RoundTrip(req)
		})
	}
}

// Learn is the layer that notes what an answer says about the host: that it answers, and the
// challenges of a 401. Answers of other hosts, to which it has led, have no challenges for it.
func (h *Host) Learn(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			h.learn(resp)
		}
		return resp, err
	})
}

func (h *Host) learn(resp *http.Response) {
	if resp.StatusCode == http.StatusUnauthorized && h.Owns(resp.Request.URL) {
		challenges := ParseChallenges(resp.Header)
		if len(challenges) > 0 && !refusesTokenOtherwise(resp.Request, challenges) {
			h.mu.Lock()
			h.challenges = challenges
			h.mu.Unlock()
		}
	}
	if h.answered.CompareAndSwap(false, true) {
		close(h.settled)
	}
}

// refusesTokenOtherwise reports whether a bearer token was refused with challenges that want
// something else. Harbor asks for basic authentication whenever a request came with an
// Authorization header; tokens are what it wants all the same.
func refusesTokenOtherwise(req *http.Request, challenges []Challenge) bool {
	return strings.HasPrefix(req.Header.Get("Authorization"), "Bearer ") &&
		!slices.ContainsFunc(challenges, func(c Challenge) bool { return c.Scheme == "bearer" })
}
