// Package systemimage chooses the image that suits a system, as go.podman.io/image/v5 chooses.
package systemimage

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Choose returns the one of images that suits the running system, or the choices in sys, as
// upstream chooses from a list of the given media type that has these entries.
func Choose(
	images []manifest.Instance, mediaType string, sys *types.SystemContext, preferGzip types.OptionalBool,
) (digest.Digest, error) {
	if preferGzip == types.OptionalBoolTrue {
		isZstd := func(image manifest.Instance) bool { return image.Annotations[manifest.AnnotationZstd] == "true" }
		if d, err := listOf(slices.DeleteFunc(slices.Clone(images), isZstd), mediaType).ChooseInstance(sys); err == nil {
			return d, nil
		}
	}
	return listOf(images, mediaType).ChooseInstance(sys)
}

// listOf returns a list of upstream's with the given entries, as far as its choice depends on them.
func listOf(images []manifest.Instance, mediaType string) upstreammanifest.List {
	if mediaType == manifest.MediaTypeDockerList {
		entries := make([]upstreammanifest.Schema2ManifestDescriptor, len(images))
		for i, image := range images {
			p := *cmp.Or(image.Platform, &imgspecv1.Platform{})
			entries[i].Digest = image.Digest
			entries[i].Platform = upstreammanifest.Schema2PlatformSpec{
				Architecture: p.Architecture, OS: p.OS, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures, Variant: p.Variant,
			}
		}
		return upstreammanifest.Schema2ListFromComponents(entries)
	}
	entries := make([]imgspecv1.Descriptor, len(images))
	for i, image := range images {
		entries[i] = imgspecv1.Descriptor{Digest: image.Digest, Platform: image.Platform, Annotations: image.Annotations}
	}
	return upstreammanifest.OCI1IndexFromComponents(entries, nil)
}
