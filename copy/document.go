package copy

import (
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// mediaTypeOf returns the media type by which a document is read: the declared one if it is a manifest's or a list's, else what
// the document says of itself. Some registries and layouts declare text/plain, application/json or nothing.
func mediaTypeOf(doc Document) string {
	switch doc.MediaType {
	case imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest,
		manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return doc.MediaType
	}
	if manifest.IsListMediaType(doc.MediaType) {
		return doc.MediaType
	}
	var says struct {
		MediaType string           `json:"mediaType"`
		Manifests *json.RawMessage `json:"manifests"`
		FSLayers  *json.RawMessage `json:"fsLayers"`
	}
	// What is no JSON is refused with a better error where the document is parsed.
	_ = json.Unmarshal(doc.Bytes, &says)
	switch {
	case says.MediaType != "":
		return says.MediaType
	case says.Manifests != nil:
		return imgspecv1.MediaTypeImageIndex
	case says.FSLayers != nil:
		return manifest.MediaTypeDockerSchema1
	}
	return imgspecv1.MediaTypeImageManifest
}

// isList says whether a document is to be read as a list.
func isList(doc Document) bool { return manifest.IsListMediaType(mediaTypeOf(doc)) }

// parseImage reads the manifest of a single image. It returns nil without an error for Docker schema 1, whose blobs this package
// does not need to know: such images are copied by upstream.
func parseImage(doc Document) (*manifest.Image, error) {
	image, err := manifest.ParseImage(doc.Bytes, mediaTypeOf(doc))
	if errors.Is(err, manifest.ErrSchema1) {
		return nil, nil
	}
	return image, err
}

// blobsOf returns the distinct blobs of an image, the config first.
func blobsOf(image *manifest.Image) []endpoint.Blob {
	blobs := []endpoint.Blob{{
		Digest: image.Config.Digest, Size: image.Config.Size, MediaType: image.Config.MediaType, Config: true,
	}}
	seen := map[digest.Digest]bool{image.Config.Digest: true}
	for _, layer := range image.Layers {
		if !seen[layer.Digest] {
			seen[layer.Digest] = true
			blobs = append(blobs, endpoint.Blob{Digest: layer.Digest, Size: layer.Size, MediaType: layer.MediaType})
		}
	}
	return blobs
}
