package vouching

import (
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Annotations of what carries a bundle (cosign's BUNDLE_SPEC.md).
const (
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
)

// maxBundle is the number of bytes that a bundle may have, to be written and to be read: a summary
// names entries of a list, which has at most manifest.MaxSize.
const maxBundle = 2 * manifest.MaxSize

// Artifact returns what carries a bundle with a statement about a stripped list, as a referrer of
// that. Like the bundle, it is another one each time.
func Artifact(stripped imgspecv1.Descriptor, s Statement, bundle []byte) original.Artifact {
	layer := original.Part{
		Descriptor: imgspecv1.Descriptor{MediaType: MediaType, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))},
		Content:    bundle,
	}
	return original.Carry(MediaType, stripped, []original.Part{layer}, map[string]string{
		contentAnnotation: "dsse-envelope", predicateAnnotation: s.PredicateType,
	})
}

// bundleIn returns the bundle that a manifest carries, and the predicate type that it states for
// it. ok is false if it carries none that we could have written.
func bundleIn(doc manifest.Document) (bundle manifest.Descriptor, predicateType string, ok bool) {
	image, err := manifest.ParseImage(doc.Bytes, doc.Type())
	if err != nil || len(image.Layers) != 1 {
		return manifest.Descriptor{}, "", false
	}
	bundle = image.Layers[0]
	return bundle, image.Annotations[predicateAnnotation], bundle.MediaType == MediaType && bundle.Size <= maxBundle
}
