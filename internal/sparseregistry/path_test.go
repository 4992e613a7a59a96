package sparseregistry

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseContentPath(t *testing.T) {
	manifestOf := func(repository, reference string) Path { return Path{Manifests, repository, reference} }
	blobOf := func(repository, reference string) Path { return Path{Blobs, repository, reference} }
	for path, want := range map[string]Path{
		"/":                             {},
		"/v2":                           {},
		"/v2/":                          {},
		"/v2/_catalog":                  {},
		"/v2/a/tags/list":               {},
		"/v2/a/manifests/v1":            manifestOf("a", "v1"),
		"/v2/a/b/manifests/sha256:1":    manifestOf("a/b", "sha256:1"),
		"/v2/a/blobs/sha256:1":          blobOf("a", "sha256:1"),
		"/v2/a/blobs/uploads/":          {},
		"/v2/a/blobs/uploads":           {},
		"/v2/a/blobs/uploads/1234":      {},
		"/v2/a/blobs/uploads/1234/":     {},
		"/v2/manifests/v1":              {},
		"/v2/manifests/manifests/v1":    manifestOf("manifests", "v1"),
		"/v2/a/manifests/manifests/v1":  manifestOf("a/manifests", "v1"),
		"/v2/a/manifests/b/tags/list":   {},
		"/v2/a/manifests/tags/list":     {},
		"/v2/a/manifests/blobs/sha256:": blobOf("a/manifests", "sha256:"),
		"/v2/a/blobs/manifests/v1":      manifestOf("a/blobs", "v1"),
		"/v2/manifests/blobs/uploads/":  {},
		"/v2/a/manifests/":              {},
		"/v3/a/manifests/v1":            {},
		"/x/v2/a/manifests/v1":          {},
		"/v2/a/manifests/...":           manifestOf("a", "..."),
	} {
		got, err := parseContentPath(path)
		assert.NoError(t, err, path)
		assert.Equal(t, want, got, path)
	}
	for _, path := range []string{
		"", "*", "v2/a/manifests/v1", "//", "//v2/a/manifests/v1", "/v2//a/manifests/v1", "/v2/a//manifests/v1", "/v2/a/manifests//v1",
		"/v2/./a/manifests/v1", "/v2/a/manifests/./v1", "/v2/a/manifests/x/../v1", "/v2/../v2/a/manifests/v1", "/v2/a/manifests/..",
		"/v2/a/manifests/v1/", "/v2/a/manifests/v1//", "/v2/a/manifests/v1/.", "/v2/a/blobs/sha256:1/", "/v2/a/blobs/uploads//",
	} {
		_, err := parseContentPath(path)
		assert.ErrorIs(t, err, errUnclean, path)
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{
		"a", "a/b", "a.b/c_d/e__f/g--h", "localhost/a", "registry.example/a", "Registry.Example/a", "TEAM/a", "a--B/c", strings.Repeat("a", maxName),
	} {
		assert.True(t, ValidName(name), name)
	}
	for _, name := range []string{
		"", "A", "a/B", "A/B", "Registry.Example", "Registry..Example/a", "-A/a", "A-/a", "A_B/a", "a/../b", "A/", "/a", "A:5000/a", "[::1]/a",
		strings.Repeat("a", maxName+1), "A/" + strings.Repeat("a", maxName-1),
	} {
		assert.False(t, ValidName(name), name)
	}
}

func TestParsePath(t *testing.T) {
	for path, want := range map[string]Path{
		"/v2/a/b/manifests/v1":                {Manifests, "a/b", "v1"},
		"/v2/a/blobs/sha256:1":                {Blobs, "a", "sha256:1"},
		"/v2/a/blobs/uploads/":                {Uploads, "a", ""},
		"/v2/a/blobs/uploads/1234":            {Uploads, "a", "1234"},
		"/v2/blobs/uploads/blobs/uploads/1":   {Uploads, "blobs/uploads", "1"},
		"/v2/a/tags/list":                     {Tags, "a", "list"},
		"/v2/referrers/referrers/sha256:1":    {Referrers, "referrers", "sha256:1"},
		"/v2/a/blobs/uploads/referrers/sha:1": {Referrers, "a/blobs/uploads", "sha:1"},
	} {
		got, ok := ParsePath(path)
		assert.True(t, ok, path)
		assert.Equal(t, want, got, path)
	}
	for _, path := range []string{"", "/v2/", "/v2/_catalog", "/v2/manifests/v1", "/v2/uploads/1", "/v2/a/uploads/1", "/v2/blobs/uploads/1", "/v1/a/manifests/v1"} {
		got, ok := ParsePath(path)
		assert.False(t, ok, path)
		assert.Zero(t, got, path)
	}
}
