package copy

import (
	"cmp"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// hold returns a document of the source as a plan is made of it, and notes whether the source declares it to be something else than it is. What
// Docker schema 1 manifests are declared to be does not matter to anybody. While documents are read, j.mu must be held.
func (j *job) hold(doc endpoint.Document) Document {
	switch doc.MediaType {
	case manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
	default:
		j.misdeclared = j.misdeclared || doc.Misdeclared != ""
	}
	return held(doc)
}

// held returns a document of an end as a plan is made of it.
func held(doc endpoint.Document) Document {
	return Document{MediaType: cmp.Or(doc.Misdeclared, doc.MediaType), Bytes: doc.Bytes}.Read()
}

// parseImage reads the manifest of a single image. It returns nil without an error for Docker schema 1, whose blobs this package
// does not need to know: such images are copied by upstream.
func parseImage(doc Document) (*manifest.Image, error) {
	switch mt := doc.Type(); mt {
	case manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return nil, nil
	default:
		return manifest.ParseImage(doc.Bytes, mt)
	}
}

// blobsOf returns the distinct blobs of an image, the config first.
func blobsOf(image *manifest.Image) []endpoint.Blob {
	var blobs []endpoint.Blob
	for b := range image.Blobs() {
		blobs = append(blobs, endpoint.Blob{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType, Config: len(blobs) == 0})
	}
	return blobs
}
