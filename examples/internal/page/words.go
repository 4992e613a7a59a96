package page

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// age returns how long something is ago in one unit, "" if it never was: "3 min", "2 h", "5 d",
// with a space that no line ends at.
func age(at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return span(now.Sub(at))
}

func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "1\u00a0min"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d\u00a0min", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d\u00a0h", d/time.Hour)
	}
	return count(int(d/day)) + "\u00a0d"
}

// count returns a number with a comma between groups of three digits.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// moment returns a time in UTC for people.
func moment(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04 UTC") }

// maxText is how many characters of a foreign text are shown.
const maxText = 1000

// What texts about requests may carry and pages must not show. A digest is no host, and what is
// before it no user; in JSON, slashes may be escaped.
var (
	userOfURL  = late.Regexp(`(\\?/\\?/)[^/?#\s"'<>]*@(sha\d+:)?`)
	queryOfURL = late.Regexp(`(://[^?#\s"'<>]*)[?#][^\s"'<>]*?([:,;.)]*)([\s"'<>]|$)`)
	query      = late.Regexp(`\?[\w.~%-]+=[^\s"'<>]*?([:,;.)]*)([\s"'<>]|$)`)
)

// foreign returns a text by strangers as the page shows it: in one line, not without end, without
// the users and queries of URLs, and without characters that nobody sees or that turn what follows
// around.
func foreign(text string) string {
	if strings.Contains(text, "@") {
		text = userOfURL().ReplaceAllStringFunc(text, withoutUser)
	}
	if strings.ContainsAny(text, "?#") {
		text = queryOfURL().ReplaceAllString(text, "$1$2$3")
		text = query().ReplaceAllString(text, "$1$2")
	}
	if isPlain(text) {
		return text
	}
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > maxText {
			b.WriteRune('…')
			break
		}
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		default:
			b.WriteRune(unicode.ReplacementChar)
		}
	}
	return b.String()
}

// withoutUser returns what is left of a match of userOfURL.
func withoutUser(match string) string {
	parts := userOfURL().FindStringSubmatch(match)
	if parts[2] != "" {
		return match
	}
	return parts[1]
}

// isPlain reports whether a text is what most texts are: short, and nothing but letters of ASCII,
// digits and signs.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return len(text) <= maxText
}
