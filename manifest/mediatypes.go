package manifest

import imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

// Media types of Docker's formats, which image-spec has no constants for. They are defined by the
// distribution project's specifications "Image Manifest Version 2, Schema 1" and "Image Manifest
// Version 2, Schema 2".
const (
	// MediaTypeDockerList is a list in Docker's format.
	MediaTypeDockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	// MediaTypeDockerManifest is the manifest of a single image in Docker's format (schema 2).
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	// MediaTypeDockerSchema1 is an unsigned manifest in Docker's obsolete format.
	MediaTypeDockerSchema1 = "application/vnd.docker.distribution.manifest.v1+json"
	// MediaTypeDockerSchema1Signed is a signed manifest in Docker's obsolete format.
	MediaTypeDockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	// MediaTypeDockerConfig is the config of an image in Docker's format.
	MediaTypeDockerConfig = "application/vnd.docker.container.image.v1+json"
	// MediaTypeDockerLayer is a layer in Docker's format that is not compressed.
	MediaTypeDockerLayer = "application/vnd.docker.image.rootfs.diff.tar"
	// MediaTypeDockerLayerGzip is a layer in Docker's format, compressed with gzip.
	MediaTypeDockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	// MediaTypeDockerForeignLayer is a layer in Docker's format that is not compressed and may not
	// be redistributed.
	MediaTypeDockerForeignLayer = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	// MediaTypeDockerForeignLayerGzip is a layer in Docker's format, compressed with gzip, that may
	// not be redistributed.
	MediaTypeDockerForeignLayerGzip = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// MediaTypeCacheConfig is the config of a build cache (BuildKit's cache/remotecache/v1), which
// describes what the layers beside it came from.
const MediaTypeCacheConfig = "application/vnd.buildkit.cacheconfig.v0"

// IsBlobMediaType reports whether an entry of a list with the media type mt names a blob and no
// manifest: a layer of OCI's or Docker's types, or the config of a build cache. BuildKit exports
// caches as such lists; Docker's types of zstd are those of containerd, which it writes.
func IsBlobMediaType(mt string) bool {
	switch mt {
	case imgspecv1.MediaTypeImageLayer, imgspecv1.MediaTypeImageLayerGzip, imgspecv1.MediaTypeImageLayerZstd,
		imgspecv1.MediaTypeImageLayerNonDistributable,     //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableGzip, //nolint:staticcheck // still in use
		imgspecv1.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // still in use
		MediaTypeDockerLayer, MediaTypeDockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.zstd",
		MediaTypeDockerForeignLayer, MediaTypeDockerForeignLayerGzip, "application/vnd.docker.image.rootfs.foreign.diff.tar.zstd",
		MediaTypeCacheConfig:
		return true
	}
	return false
}

// IsListMediaType reports whether mt, without parameters, is the media type of a list: of an OCI
// index or of a Docker list.
func IsListMediaType(mt string) bool {
	return mt == imgspecv1.MediaTypeImageIndex || mt == MediaTypeDockerList
}
