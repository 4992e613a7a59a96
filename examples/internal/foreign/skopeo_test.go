package foreign

import (
	"regexp"
	"regexp/syntax"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnchored holds what becomes of expressions against what they match.
func TestAnchored(t *testing.T) {
	tags := []string{"", "a", "ab", "ba", "bab", "b", "1.2", "v1.2", "v1.2-rc", "A", "a.b", "a|b", "aa", `a\b`}
	for expression, want := range map[string]string{
		"a":             ".*(?:a).*",
		"^a":            "",
		"^a$":           "^a$",
		"a$":            ".*a$",
		`^v?1\.2$`:      `^v?1\.2$`,
		"a|b":           "",
		"^a|b$":         "",
		"(?i)^a":        "",
		"^(?:a|b)$":     "^(?:a|b)$",
		"":              "",
		"^":             "",
		`\Qa.b`:         "",
		`^\Qa.b`:        "",
		"a*":            "",
		"(?m)^a$":       "",
		`^a\b`:          "",
		"[^a]":          "",
		"^$":            "^$",
		`\Aa\z`:         `\Aa\z`,
		"(?s:.)":        "",
		`\d+\.\d+(-rc)`: "",
	} {
		whole, err := anchored(expression)
		require.NoError(t, err, expression)
		if want != "" {
			assert.Equal(t, want, whole, expression)
		}
		anywhere, all := regexp.MustCompile(expression), regexp.MustCompile("^(?:"+whole+")$")
		for _, tag := range tags {
			assert.Equal(t, anywhere.MatchString(tag), all.MatchString(tag), "%q, which becomes %q, of %q", expression, whole, tag)
		}
	}
	_, err := anchored("(")
	assert.IsType(t, &syntax.Error{}, err)
}
