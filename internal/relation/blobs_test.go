package relation

import (
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestKindsOfBlobs: blobs have names, and no relation, whatever their platforms say; layers beside
// the config of a cache are called so.
func TestKindsOfBlobs(t *testing.T) {
	unknown := &imgspecv1.Platform{OS: "unknown", Architecture: "unknown"}
	image := manifest.Instance{MediaType: imgspecv1.MediaTypeImageManifest}
	layer := manifest.Instance{MediaType: imgspecv1.MediaTypeImageLayerZstd, Platform: unknown}
	docker := manifest.Instance{MediaType: manifest.MediaTypeDockerLayerGzip}
	config := manifest.Instance{MediaType: manifest.MediaTypeCacheConfig}
	for _, c := range []struct {
		instances []manifest.Instance
		kinds     []string
	}{
		{[]manifest.Instance{layer, image, docker}, []string{"layer", "", "layer"}},
		{[]manifest.Instance{layer, config, image, docker}, []string{"cache layer", "cache config", "", "cache layer"}},
	} {
		for i, tie := range Of(c.instances, nil) {
			assert.Equal(t, Tie{Kind: c.kinds[i]}, tie)
		}
	}
	assert.False(t, Unclear(layer), "nobody reads it as a manifest")
}
