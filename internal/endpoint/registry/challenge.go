package registry

import (
	"net/http"
	"strings"
)

// challenge is one challenge of a WWW-Authenticate header. RFC 9110, section 11.6.1.
type challenge struct {
	scheme string            // in lower case
	params map[string]string // keys in lower case
}

// parseChallenges reads the challenges of all WWW-Authenticate headers, several in one header too. Of a malformed header it
// keeps what comes before the first error. A token68 in place of parameters is dropped.
func parseChallenges(header http.Header) []challenge {
	var all []challenge
	for _, value := range header.Values("WWW-Authenticate") {
		all = append(all, parseChallengeHeader(value)...)
	}
	return all
}

func parseChallengeHeader(s string) []challenge {
	var found []challenge
	s = skipSeparators(s)
	for s != "" {
		word, rest := cutToken(s)
		if word == "" {
			return found
		}
		// A word is the key of a parameter if "=" follows, and else the scheme of the next challenge.
		if key, value, after, ok := cutParameter(word, rest); ok {
			if len(found) == 0 {
				return nil
			}
			found[len(found)-1].params[key] = value
			rest = after
		} else if after, ok := skipToken68(rest); ok && len(found) > 0 {
			rest = after
		} else {
			found = append(found, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
		}
		s = skipSeparators(rest)
	}
	return found
}

// cutParameter reads the value that follows the key of a parameter.
func cutParameter(word, rest string) (key, value, after string, ok bool) {
	rest, ok = strings.CutPrefix(skipSpace(rest), "=")
	if !ok {
		return "", "", "", false
	}
	rest = skipSpace(rest)
	if strings.HasPrefix(rest, `"`) {
		value, after, ok = cutQuoted(rest[1:])
		return strings.ToLower(word), value, after, ok
	}
	value, after = cutToken(rest)
	return strings.ToLower(word), value, after, value != ""
}

// skipToken68 skips the end of a token68 that a token was the beginning of: padding or characters that tokens do not have.
func skipToken68(s string) (string, bool) {
	rest := strings.TrimLeft(s, "/=+-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	return rest, len(rest) < len(s)
}

// cutQuoted reads up to the closing quote, and resolves quoted pairs.
func cutQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return !isTokenRune(r) })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// isTokenRune: RFC 9110, section 5.6.2.
func isTokenRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

func skipSpace(s string) string { return strings.TrimLeft(s, " \t") }

func skipSeparators(s string) string { return strings.TrimLeft(s, " \t,") }
