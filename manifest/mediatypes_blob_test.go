package manifest

import (
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
)

// TestIsBlobMediaType: layers in all compressions, those that may not be distributed included, and
// the config of a cache are blobs; manifests, configs of images and what is not known are not.
func TestIsBlobMediaType(t *testing.T) {
	for _, mt := range []string{
		"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar.zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", "application/vnd.buildkit.cacheconfig.v0",
	} {
		assert.True(t, IsBlobMediaType(mt), mt)
		assert.True(t, Instance{MediaType: mt}.IsBlob(), mt)
	}
	for _, mt := range []string{
		"", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageConfig, MediaTypeDockerManifest, MediaTypeDockerList,
		MediaTypeDockerSchema1, MediaTypeDockerConfig, imgspecv1.MediaTypeEmptyJSON, "application/octet-stream", "application/vnd.example",
	} {
		assert.False(t, IsBlobMediaType(mt), mt)
	}
}
