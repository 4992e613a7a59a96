package registry

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
)

// enter waits until a request may be sent without knowing more about the host. The first request goes alone while the scheme is
// not known, or if it is authenticated: the others then know how. leave must be called when the request ended.
func (h *host) enter(ctx context.Context, authenticated bool) (leave func(), err error) {
	h.used.Do(func() { h.openAhead(openAhead) })
	if h.answered.Load() || (h.currentScheme() != "" && !authenticated) {
		return func() {}, nil
	}
	leave, _, err = h.first.TakeUnless(ctx, h.settled)
	return leave, err
}

// learn notes what an answer to a request over scheme says about the host.
func (h *host) learn(scheme string, resp *http.Response) {
	own := h.isOrigin(scheme, resp.Request.URL)
	if own && resp.Header.Get("X-Registry-Supports-Signatures") == "1" {
		h.signatures.note(h.now())
	}
	if own {
		h.logWarnings(resp)
	}
	h.mu.Lock()
	if h.scheme == "" {
		h.scheme = scheme
	}
	if own && resp.StatusCode == http.StatusUnauthorized {
		if challenges := parseChallenges(resp.Header); len(challenges) > 0 && !refusesTokenOtherwise(resp.Request, challenges) {
			h.challenges = challenges
		}
	}
	h.mu.Unlock()
	if own && resp.Request.URL.Path == "/v2/" {
		h.announcements.learn(resp.Header, h.now())
	}
	if h.answered.CompareAndSwap(false, true) {
		close(h.settled)
	}
}

// refusesTokenOtherwise reports whether a bearer token was refused with challenges that want something else. Harbor asks for basic
// authentication whenever a request came with an Authorization header; tokens are what it wants all the same.
func refusesTokenOtherwise(req *http.Request, challenges []challenge) bool {
	return strings.HasPrefix(req.Header.Get("Authorization"), "Bearer ") &&
		!slices.ContainsFunc(challenges, func(c challenge) bool { return c.scheme == "bearer" })
}

// traceTLS notes a completed handshake: from then on plain HTTP is never tried.
func (h *host) traceTLS(ctx context.Context) context.Context {
	if h.currentScheme() != "" {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
		if err != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.scheme == "" {
			h.scheme = "https"
		}
	}})
}

func (h *host) currentScheme() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.scheme
}

func (h *host) currentChallenges() []challenge {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.challenges
}

// owns says whether u is at the host itself, where credentials may go and whose challenges count.
func (h *host) owns(u *url.URL) bool { return h.isOrigin(h.currentScheme(), u) }

// elsewhere reports whether u is at a host with another name, whatever scheme and port.
func (h *host) elsewhere(u *url.URL) bool {
	return !strings.EqualFold(u.Hostname(), (&url.URL{Host: h.registry}).Hostname())
}

// isOrigin is owns while scheme is being tried.
func (h *host) isOrigin(scheme string, u *url.URL) bool {
	return u.Scheme == scheme && ocihttp.SameOrigin(u, &url.URL{Scheme: scheme, Host: h.registry})
}

// maxWarnings is how many different warnings of a host are logged: some have the time, or a number, in them.
const maxWarnings = 100

// firstWarning says whether a warning is to be logged.
func (h *host) firstWarning(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.warnings[text] || len(h.warnings) >= maxWarnings {
		return false
	}
	if h.warnings == nil {
		h.warnings = map[string]bool{}
	}
	h.warnings[text] = true
	return true
}

// logWarnings logs the warnings of a registry, each once. OCI distribution specification v1.1, section "Warnings".
func (h *host) logWarnings(resp *http.Response) {
	for _, value := range resp.Header.Values("Warning") {
		text, ok := strings.CutPrefix(value, `299 - "`)
		if !ok {
			continue
		}
		text, _, ok = cutQuoted(text)
		if ok && h.firstWarning(text) {
			logrus.Warnf("Registry %s warns: %q", h.registry, text)
		}
	}
}
