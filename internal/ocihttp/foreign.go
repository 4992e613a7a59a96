package ocihttp

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// What texts about requests may carry and nobody is to read. A digest is no host, and what is
// before it no user; in JSON, slashes may be escaped.
var (
	userOfURL  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(\\?/\\?/)[^/?#\s"'<>]*@(sha\d+:)?`) })
	queryOfURL = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(://[^?#\s"'<>]*)[?#][^\s"'<>]*?([:,;.)]*)([\s"'<>]|$)`)
	})
	query = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\?[\w.~%-]+=[^\s"'<>]*?([:,;.)]*)([\s"'<>]|$)`) })
)

// CleanText returns a text by strangers without the users and queries of URLs in it.
func CleanText(text string) string {
	if strings.Contains(text, "@") {
		text = userOfURL().ReplaceAllStringFunc(text, withoutUser)
	}
	if strings.ContainsAny(text, "?#") {
		text = queryOfURL().ReplaceAllString(text, "$1$2$3")
		text = query().ReplaceAllString(text, "$1$2")
	}
	return text
}

// withoutUser returns what is left of a match of userOfURL.
func withoutUser(match string) string {
	parts := userOfURL().FindStringSubmatch(match)
	if parts[2] != "" {
		return match
	}
	return parts[1]
}

// shortestSecret is how long a credential is at least that CleanAnswer looks for: a shorter one
// would be found everywhere, and is known to all.
const shortestSecret = 6

// CleanAnswer is CleanText for what an answer says to req: without its credentials, too, which some
// hosts repeat, and without what signs its URL.
func CleanAnswer(req *http.Request, text string) string {
	for _, secret := range secretsOf(req) {
		if len(secret) >= shortestSecret {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return CleanText(text)
}

// secretsOf are what nobody is to read of a request, the longest first: one may hold another.
func secretsOf(req *http.Request) []string {
	_, password, _ := req.BasicAuth()
	_, sent, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	secrets := []string{sent, password}
	if req.URL.RawQuery != "" {
		for name, values := range req.URL.Query() {
			if !isSecret(name) {
				continue
			}
			for _, value := range values {
				secrets = append(secrets, value, url.QueryEscape(value))
			}
		}
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	return secrets
}

// isSecret reports whether the parameter of a URL with that name is by its name one that gives
// access: object stores call it X-Amz-Signature or sig, registries _state.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"sig", "token", "credential", "secret", "state"}, func(part string) bool {
		return strings.Contains(name, part)
	})
}
