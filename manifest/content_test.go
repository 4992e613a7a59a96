package manifest_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestRead: what a document says of itself goes before what it was declared to be, which is kept,
// and reading it again changes nothing.
func TestRead(t *testing.T) {
	const list, image = `{"manifests":[]}`, `{"config":{},"layers":[]}`
	for _, c := range []struct{ content, declared, is, misdeclared string }{
		{list, "", imgspecv1.MediaTypeImageIndex, ""},
		{list, imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageIndex, ""},
		{list, manifest.MediaTypeDockerList, manifest.MediaTypeDockerList, ""},
		{list, imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageManifest},
		{image, "text/plain", imgspecv1.MediaTypeImageManifest, "text/plain"},
		{image, manifest.MediaTypeDockerManifest, manifest.MediaTypeDockerManifest, ""},
		{"nothing", "", imgspecv1.MediaTypeImageManifest, ""},
		{"nothing", "text/html", imgspecv1.MediaTypeImageManifest, "text/html"},
	} {
		doc := manifest.Document{Digest: digest.FromString("any"), MediaType: c.declared, Bytes: []byte(c.content)}
		read := doc.Read()
		assert.Equal(t, manifest.Document{Digest: doc.Digest, MediaType: c.is, Misdeclared: c.misdeclared, Bytes: doc.Bytes}, read)
		assert.Equal(t, read, read.Read())
		assert.Equal(t, c.is, doc.Type())
		assert.Equal(t, c.content == list, doc.IsList())
	}
}
