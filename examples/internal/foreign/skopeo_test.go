package foreign

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
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

// TestSkopeoSaysThingsTwice has what Skopeo copies twice, or lets the last one win of.
func TestSkopeoSaysThingsTwice(t *testing.T) {
	d := "sha256:" + strings.Repeat("0", 64)
	all := Options{To: "docker://mirror.example", Skopeo: SkopeoOptions{All: true}}
	result, err := skopeo.Convert("f", []byte("docker.io:\n  images:\n    alpine: ['1', '1', '"+d+"', '"+d+"']\n  images-by-tag-regex:\n    library/alpine: ^2\n"), all)
	require.NoError(t, err)
	assert.Len(t, result.File.Images, 2)

	_, err = skopeo.Convert("f", []byte("a.example:\n  images: {team/app: ['1']}\nb.example:\n  images:\n    other/app: ['1']\n"), all)
	require.EqualError(t, err, "f:5: docker://mirror.example/app:1 is the destination of the image in line 2 too")
	all.Skopeo.Scoped = true
	_, err = skopeo.Convert("f", []byte("a.example:\n  images: {team/app: ['1']}\nb.example:\n  images:\n    other/app: ['1']\n"), all)
	require.NoError(t, err)

	_, err = skopeo.Convert("f", []byte("a.example/a: {images: {b: []}, tls-verify: true}\na.example/c:\n  images: {d: []}\n  tls-verify: false\n"), all)
	require.EqualError(t, err, "f:1: a.example/a: tls-verify would be both true and false")
}

// TestSkopeoToDirectories converts for --dest dir.
func TestSkopeoToDirectories(t *testing.T) {
	d := "sha256:" + strings.Repeat("0", 64)
	content := []byte("a.example:5000: {images: {team/app: [v1, '" + d + "']}}\n")
	parse := func(_, text string) (types.ImageReference, error) { return alltransports.ParseImageName(text) }
	o := Options{To: "dir:/media/usb/", Parse: AnyDirectory(parse), Skopeo: SkopeoOptions{All: true, Scoped: true}}
	result, err := skopeo.Convert("f", content, o)
	require.NoError(t, err)
	assert.Contains(t, string(result.Sync), "destination: dir:/media/usb/a.example:5000/team/app:{tag}\n")
	assert.Contains(t, string(result.Sync), "destination: dir:/media/usb/a.example:5000/team/app@"+d+"\n")
	assert.Empty(t, result.Notes)
	o.To = "docker://mirror.example"
	result, err = skopeo.Convert("f", content, o)
	require.NoError(t, err)
	assert.Equal(t, "f:1: a.example:5000: the colon becomes - in the names of destinations: Skopeo fails there\n", string(lines(result.Notes)))
}
