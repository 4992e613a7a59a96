package copy

import (
	"cmp"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// held returns a document of an end as a plan is made of it.
func held(doc endpoint.Document) Document {
	return Document{MediaType: doc.MediaType, Bytes: doc.Bytes, misdeclared: doc.Misdeclared}.read()
}

// read returns the document with the media type by which it is read, and what it was declared to be instead.
func (d Document) read() Document {
	is := mediaTypeOf(d)
	if manifest.IsMisdeclared(is, d.MediaType) {
		d.misdeclared = d.MediaType
	}
	d.MediaType = is
	return d
}

// mediaTypeOf returns the media type by which a document is read: what the document says of itself, else the declared one. Whoever
// declares it is wrong at times, or declares text/plain, application/json or nothing.
func mediaTypeOf(doc Document) string {
	// What is nothing at all is refused with a better error where the document is parsed.
	return cmp.Or(manifest.TypeOf(doc.Bytes, doc.MediaType), imgspecv1.MediaTypeImageManifest)
}

// isList says whether a document is to be read as a list.
func isList(doc Document) bool { return manifest.IsListMediaType(mediaTypeOf(doc)) }

// parseImage reads the manifest of a single image. It returns nil without an error for Docker schema 1, whose blobs this package
// does not need to know: such images are copied by upstream.
func parseImage(doc Document) (*manifest.Image, error) {
	switch mt := mediaTypeOf(doc); mt {
	case manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return nil, nil
	default:
		return manifest.ParseImage(doc.Bytes, mt)
	}
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
