package copy

import (
	"context"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
)

// ErrNotFound is what errors of this package are, in the sense of errors.Is, if and only if an end
// has said definitely that it does not have what the error is about: a file does not exist, or a
// registry has answered 404 to the question for a manifest, tag or blob. No refusal of access and
// no failure is.
//
// A 404 may be a proxy's all the same: whoever deletes because of an absence asks SaysAbsent.
var ErrNotFound = endpoint.ErrNotFound

// SaysAbsent reports whether err is ErrNotFound in a registry's own words, with a body in the form
// of the OCI distribution specification, or no registry's answer at all.
func SaysAbsent(err error) bool { return endpoint.SaysAbsent(err) }

// What Inspect and AttachedOriginal return.
type (
	// An Inspection says what a reference names, and what of it is there. As JSON it has the schema
	// InspectionSchema.
	Inspection = inspect.Inspection
	// An InspectedEntry is one entry of a list.
	InspectedEntry = inspect.Entry
	// An InspectedImage is the manifest of a single image or artifact.
	InspectedImage = inspect.Image
	// An InspectedBlob is a config or a layer, as a manifest states it.
	InspectedBlob = inspect.Blob
	// InspectedTotals count what is distinct.
	InspectedTotals = inspect.Totals
	// An AttachedOriginal says in what the original of a stripped list travels along with it.
	AttachedOriginal = inspect.Original
)

// InspectionSchema names the JSON form of an Inspection, which docs/report-schema.md describes.
const InspectionSchema = inspect.InspectionSchema

// ReadOptions are the choices of Inspect and ReadManifest. The zero value is useful, and so is a
// nil *ReadOptions.
type ReadOptions struct {
	// SystemContext is the configuration; nil means the defaults.
	SystemContext *types.SystemContext
	// Side says for which end of a copy the reference is read. A source is read where
	// registries.conf says: mirrors may stand in for it. A destination is read at the repository
	// itself. "" means SourceSide.
	Side Side
}

// Inspect reads what ref names: every list and manifest, down to the last nested list, and the
// config of a single image, which has its platform. It says which manifests are there, and which
// blobs that lists name in the place of manifests. The layers and configs of images are not looked
// for: Verify does that. Nothing is written, and no signature policy is asked.
//
// What is definitely not there is Missing. The error is an *Error: something could not be read,
// does not have its digest, or is more than a *LimitError allows. It is ErrNotFound if ref names
// nothing.
func Inspect(ctx context.Context, ref types.ImageReference, options *ReadOptions) (*Inspection, error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Inspect(ctx, ref, options)
}

func inspectWith(ctx context.Context, c *Copier, ref types.ImageReference, o ReadOptions) (*Inspection, error) {
	src, err := openToRead(ctx, c, ref, o)
	if err != nil {
		return nil, err
	}
	defer src.Close() // nothing was written
	found, err := inspect.Inspect(ctx, src, budget.Or(c.budget))
	if err != nil {
		return nil, failure.New("inspecting", o.Side, transports.ImageName(ref), err)
	}
	found.Reference = transports.ImageName(ref)
	return found, nil
}

// ReadManifest reads the manifest or list that ref names, and nothing else. What it returns has
// been Read, and verified against its Digest.
//
// The error is an *Error. It is ErrNotFound if ref names nothing.
func ReadManifest(ctx context.Context, ref types.ImageReference, options *ReadOptions) (Document, error) {
	c := newOneShot(CopierOptions{})
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.ReadManifest(ctx, ref, options)
}

func readManifestWith(ctx context.Context, c *Copier, ref types.ImageReference, o ReadOptions) (Document, error) {
	src, err := openToRead(ctx, c, ref, o)
	if err != nil {
		return Document{}, err
	}
	defer src.Close() // nothing was written
	return src.Top().Read(), nil
}

func (o *ReadOptions) orDefault() ReadOptions {
	var out ReadOptions
	if o != nil {
		out = *o
	}
	if out.Side != DestinationSide {
		out.Side = SourceSide
	}
	return out
}

// openToRead opens what ref names for reading. The error is an *Error.
func openToRead(ctx context.Context, c *Copier, ref types.ImageReference, o ReadOptions) (endpoint.SizedSource, error) {
	from := ref
	if o.Side == DestinationSide {
		from = access.Own(ref)
	}
	src, _, err := access.OpenSource(ctx, from, o.SystemContext, c.shared)
	if err != nil {
		return nil, failure.New(failure.Opening, o.Side, transports.ImageName(ref), err)
	}
	return src, nil
}
