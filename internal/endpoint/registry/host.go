package registry

import (
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/httpfield"
)

// notice notes what an answer says about the registry beside what it was asked.
func (h *host) notice(resp *http.Response) {
	if !h.Owns(resp.Request.URL) {
		return
	}
	if resp.Header.Get("X-Registry-Supports-Signatures") == "1" {
		h.signatures.note(h.now())
	}
	h.logWarnings(resp)
	if resp.Request.URL.Path == "/v2/" {
		h.announcements.learn(resp.Header, resp.Request.URL.Query().Get(repositoryParameter), h.now())
	}
}

// maxWarnings is how many different warnings of a host are logged: some have the time, or a number,
// in them.
const maxWarnings = 100

// firstWarning reports whether a warning is to be logged.
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

// logWarnings logs the warnings of a registry, each once. OCI distribution specification v1.1,
// section "Warnings".
func (h *host) logWarnings(resp *http.Response) {
	for _, value := range resp.Header.Values("Warning") {
		text, ok := strings.CutPrefix(value, `299 - "`)
		if !ok {
			continue
		}
		text, _, ok = httpfield.CutQuoted(text)
		if ok && h.firstWarning(text) {
			logrus.Warnf("Registry %s warns: %q", h.Name, text)
		}
	}
}
