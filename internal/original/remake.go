package original

import (
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Remake returns the artifact that this package makes for the list that stripped describes of what
// is in doc, in the same form: what was made by it has the same digest. blob is that of Read, and
// so is the error.
func Remake(stripped imgspecv1.Descriptor, doc manifest.Document, blob func(imgspecv1.Descriptor) ([]byte, error)) (Artifact, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.Type())
	if err != nil {
		return Artifact{}, &Error{"artifact", doc.Digest, err.Error(), ErrMalformed}
	}
	var a Artifact
	if KindOf(image.ArtifactType, image.Annotations) == RoleSignature {
		s, err := ReadSignature(doc, blob)
		if err != nil {
			return Artifact{}, err
		}
		if a, err = OfSignature(stripped, s); err != nil {
			return Artifact{}, err
		}
	} else {
		o, err := Read(doc, blob)
		if err != nil {
			return Artifact{}, err
		}
		a = Of(stripped, o.Documents, o.Claim)
	}
	if image.ArtifactType == "" {
		a = Plain(a)
	}
	return a, nil
}
