package ocihttp

import (
	"net/http"
	"regexp"
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
// hosts repeat.
func CleanAnswer(req *http.Request, text string) string {
	_, password, _ := req.BasicAuth()
	_, sent, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	for _, secret := range []string{sent, password} {
		if len(secret) >= shortestSecret {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return CleanText(text)
}
