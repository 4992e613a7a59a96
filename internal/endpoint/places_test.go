package endpoint

import (
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestPlacesOf: a layer with URLs stays elsewhere, unless something without them has its digest.
func TestPlacesOf(t *testing.T) {
	at := func(name string, urls ...string) manifest.Descriptor {
		return manifest.Descriptor{Digest: digest.FromString(name), URLs: urls}
	}
	digests := func(blobs []Blob) (all []digest.Digest) {
		for _, b := range blobs {
			all = append(all, b.Digest)
		}
		return all
	}
	const url = "https://example.com/layer"
	here, elsewhere := PlacesOf(&manifest.Image{Config: at("config"), Layers: []manifest.Descriptor{
		at("foreign", url), at("a"), at("both", url), at("both"), at("config", url), at("a"),
	}})
	assert.Equal(t, []digest.Digest{digest.FromString("config"), digest.FromString("a"), digest.FromString("both")}, digests(here))
	assert.Equal(t, []digest.Digest{digest.FromString("foreign")}, digests(elsewhere))

	here, elsewhere = PlacesOf(nil)
	assert.Empty(t, here)
	assert.Empty(t, elsewhere)
}
