package ocihttp

import (
	"net/http"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/httpfield"
)

// A Challenge is one challenge of a WWW-Authenticate header. RFC 9110, section 11.6.1.
type Challenge struct {
	Scheme string            // in lower case
	Params map[string]string // keys in lower case
}

// ParseChallenges reads the challenges of all WWW-Authenticate headers, several in one header too.
// Of a malformed header it keeps what comes before the first error. A token68 in place of
// parameters is dropped.
func ParseChallenges(header http.Header) []Challenge {
	var all []Challenge
	for _, value := range header.Values("WWW-Authenticate") {
		all = append(all, parseChallengeHeader(value)...)
	}
	return all
}

func parseChallengeHeader(s string) []Challenge {
	var found []Challenge
	s = httpfield.SkipSeparators(s)
	for s != "" {
		word, rest := httpfield.CutToken(s)
		if word == "" {
			return found
		}
		// A word is the key of a parameter if "=" follows, and else the scheme of the next
		// challenge.
		if key, value, after, ok := cutParameter(word, rest); ok {
			if len(found) == 0 {
				return nil
			}
			found[len(found)-1].Params[key] = value
			rest = after
		} else if after, ok := skipToken68(rest); ok && len(found) > 0 {
			rest = after
		} else {
			found = append(found, Challenge{Scheme: strings.ToLower(word), Params: map[string]string{}})
		}
		s = httpfield.SkipSeparators(rest)
	}
	return found
}

// cutParameter reads the value that follows the key of a parameter.
func cutParameter(word, rest string) (key, value, after string, ok bool) {
	rest, ok = strings.CutPrefix(httpfield.SkipSpace(rest), "=")
	if !ok {
		return "", "", "", false
	}
	rest = httpfield.SkipSpace(rest)
	if strings.HasPrefix(rest, `"`) {
		value, after, ok = httpfield.CutQuoted(rest[1:])
		return strings.ToLower(word), value, after, ok
	}
	value, after = httpfield.CutToken(rest)
	return strings.ToLower(word), value, after, value != ""
}

// skipToken68 skips the end of a token68 that a token was the beginning of: padding or characters
// that tokens do not have.
func skipToken68(s string) (string, bool) {
	rest := strings.TrimLeft(s, "/=+-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	return rest, len(rest) < len(s)
}

// Values of the parameter "error" of a challenge. RFC 6750, section 3.1.
const (
	InvalidToken      = "invalid_token" // it has ended, or was never one
	InsufficientScope = "insufficient_scope"
)

// RefusedToken is what challenges say about a refused token: the error, "" if there is none, and
// the scope that would do.
func RefusedToken(challenges []Challenge) (fault, scope string) {
	for _, c := range challenges {
		if c.Scheme == "bearer" {
			return c.Params["error"], c.Params["scope"]
		}
	}
	return "", ""
}
