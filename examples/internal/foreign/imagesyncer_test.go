package foreign

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestImageSyncerMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"a.example/a: ''":                               "f:1: a.example/a: it has no destination: say where such images go, with --image-syncer-registry",
		"a.example/a:":                                  "it has no destination",
		"a.example/a: [m.example/a, '']":                "f:1: a.example/a[1]: it has no destination",
		"a.example/a: m.example/a:1":                    "the source others: image-syncer fails here, too",
		"a.example/a:1,2: m.example/a:1":                "the destination has 1 tags",
		"a.example/a:/v.*/: m.example/a:1":              "the destination has 1 tags",
		"a.example/a:/(/: m.example/a":                  "missing closing )",
		"a.example/a: m.example/a@" + someDigest:        "is no destination, for image-syncer either",
		"a.example/a: m.example/a:/v/":                  "is no destination, for image-syncer either",
		"a.example/A: m.example/a":                      "must be lowercase",
		"'@x': m.example/a":                             "names no images",
		"a.example/a: m.example/$1":                     `"m.example/$1" has a $ that begins no variable`,
		"images: {a: b}\nauth: a":                       "f:2: auth: this must be a mapping",
		"a.example/a: {b: c}":                           "this must be a text",
		"images: {a.example/a: m.example/a}\nauth: [a]": "f:2: auth: this must be a mapping",
	} {
		_, err := imageSyncer.Convert("f", []byte(text), Options{})
		assert.ErrorContains(t, err, want, text)
	}
}

func TestImageSyncerFlags(t *testing.T) {
	auth := filepath.Join(t.TempDir(), "auth.json")
	require.NoError(t, os.WriteFile(auth, []byte("{\n\t\"a.example/team\": {\"username\": \"u\", \"password\": \"secret\", \"insecure\": true},\n\t\"b.example\": {\"email\": \"x\"}\n}"), 0o600))
	o := Options{ImageSyncer: ImageSyncerOptions{
		Auth: auth, Registry: "m.example", Namespace: "ns", OS: []string{"linux", "windows:10.0.17763"}, Architecture: []string{"amd64", "arm:v7"},
	}}
	result, err := imageSyncer.Convert("f", []byte("a.example/team/a:1:\nnginx:1,2: ''\n"), o)
	require.NoError(t, err)
	accepted(t, result.Sync)
	assert.NotContains(t, string(result.Sync), "secret")
	assert.Contains(t, string(result.Sync), "- registry: a.example\n  tls-verify: false\n")
	assert.Contains(t, string(result.Sync), "  optional:\n  - linux/amd64\n  - linux/arm/v7\n  - windows/amd64:10.0.17763\n  - windows/arm/v7:10.0.17763\n")
	assert.Contains(t, string(result.Sync), "- source: docker://a.example/team/a:1\n  destination: docker://m.example/ns/a:{tag}\n")
	assert.Contains(t, string(result.Sync), "- source: docker://docker.io/library/nginx\n  tags: [\"1\", \"2\"]\n  destination: docker://m.example/ns/nginx:{tag}\n")
	assert.Equal(t, auth+":3: b.example.email: "+imageSyncer.Title+" has no such key\n", string(lines(result.Lost)))
	assert.Equal(t, auth+":2: a.example/team.username: credentials stay out of sync files: type mirror login a.example/team\n"+
		auth+":2: a.example/team.insecure: it is so for all of a.example\n", string(lines(result.Notes)))

	o.ImageSyncer.Namespace, o.ImageSyncer.OS = "", nil
	result, err = imageSyncer.Convert("f", []byte("a.example/team/a:1:\n"), o)
	require.NoError(t, err)
	assert.Contains(t, string(result.Sync), "  destination: docker://m.example/team/a:{tag}\n")
	assert.Contains(t, string(result.Sync), "  optional: ['*/amd64', '*/arm/v7']\n")
	o.ImageSyncer.Auth += ".none"
	_, err = imageSyncer.Convert("f", []byte("a.example/team/a:1:\n"), o)
	assert.ErrorContains(t, err, "no such file")
}
