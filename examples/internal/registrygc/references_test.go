package registrygc

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// digests makes digests of letters.
func digests(letters string) []digest.Digest {
	var all []digest.Digest
	for _, c := range letters {
		all = append(all, digest.Digest("sha256:"+strings.Repeat(string(c), 64)))
	}
	return all
}

func TestReadReferences(t *testing.T) {
	for _, c := range []struct {
		manifest string // a quoted letter stands for a digest of it
		names    string // the letters
		subjects string
	}{
		{`{}`, "", ""},
		{`{"config": {"digest": "a"}, "layers": [{"digest": "b"}, {"digest": "c"}]}`, "abc", ""},
		{`{"manifests": [{"digest": "a", "platform": {"digest": "f"}}, {"digest": "b"}], "subject": {"digest": "c"}}`, "ab", "c"},
		{`{"manifests": [{"digest": "b"}, {"digest": "a"}, {"digest": "b"}]}`, "ab", ""},
		{`{"fsLayers": [{"blobSum": "a"}]}`, "a", ""},
		{`{"blobs": [{"digest": "a"}]}`, "a", ""},
		{`{"manifests": null, "layers": {"digest": "a"}, "config": [{"digest": "b"}], "subject": null}`, "ab", ""},
		{`{"layers": ["a", null, 1, [], {"digest": 1}, {"digest": "sha256:0"}, {}]}`, "", ""},
		{`{"annotations": {"digest": "a"}, "manifest": {"digest": "a"}}`, "", ""},
		// What one parser takes and another does not.
		{`{"Manifests": [{"digest": "a"}], "manifests": [{"Digest": "b", "digest": "c"}]}`, "abc", ""},
		{`{"layers": [{"digest": "a"}], "layers": [{"digest": "b", "digest": "c"}]}`, "abc", ""},
		{`{"subject": {"digest": "a"}, "SUBJECT": {"digest": "b"}}`, "", "ab"},
	} {
		text := c.manifest
		for _, d := range digests("abcf") {
			text = strings.ReplaceAll(text, `"`+string(d[len("sha256:")])+`"`, `"`+string(d)+`"`)
		}
		refs, err := readReferences([]byte(text))
		require.NoError(t, err, c.manifest)
		assert.Equal(t, references{digests(c.names), digests(c.subjects)}, refs, c.manifest)
	}
	for _, text := range []string{"", "[]", "null", `{"config": }`, `{"config": {}`, `{"layers": [}`, `{"layers": [{"digest"]`} {
		_, err := readReferences([]byte(text))
		assert.ErrorContains(t, err, "reading what it names: ", text)
	}
}

func TestDigestSet(t *testing.T) {
	var s digestSet
	in := []digest.Digest{digest.FromString("a"), digest.SHA512.FromString("a"), digest.FromString("b")}
	for _, d := range in {
		assert.False(t, s.has(d))
		s.add(d)
	}
	for _, d := range in {
		assert.True(t, s.has(d))
	}
	assert.False(t, s.has(digest.FromString("c")))
	assert.False(t, s.has(digest.SHA512.FromString("b")))
}
