package refusals

import (
	"errors"
	"slices"

	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A TypeError says that the destination has refused a list or image, maybe for its media type.
type TypeError struct {
	MediaType string
	Err       error
}

func (e *TypeError) Error() string { return e.Err.Error() }

func (e *TypeError) Unwrap() error { return e.Err }

// OfType makes err a *TypeError if it says so of doc, which p wants of the source, and another type
// might do: what is no image is refused for what it is.
func OfType(err error, doc endpoint.Document, p *plan.Plan, source known.Source) error {
	if !endpoint.RefusesType(err) || p.Attests(doc.Digest) {
		return err
	}
	if image, parseErr := source.Image(doc); !doc.IsList() && (parseErr != nil || image != nil && image.IsArtifact()) {
		return err
	}
	return &TypeError{doc.MediaType, err}
}

// ForType returns the media type for which the copy of p has failed with err, if another one is to
// be tried: it is none of rejected. Lists with absent children are refused for these, and those
// that name blobs for them.
func ForType(err error, p *plan.Plan, rejected []string) (mediaType string, ok bool) {
	refused, ok := errors.AsType[*TypeError](err)
	if !ok || slices.Contains(rejected, refused.MediaType) {
		return "", false
	}
	_, blobs := errors.AsType[*plan.BlobsRefusedError](err)
	return refused.MediaType, !blobs && !(p.Sparse() && manifest.IsListMediaType(refused.MediaType))
}
