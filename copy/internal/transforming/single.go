package transforming

import (
	"context"

	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A ByDigest is a destination as images that are transformed get it.
type ByDigest struct {
	endpoint.Destination
	// IsTop is set if the image is what the destination's reference is to name: it is stored when
	// that does.
	IsTop bool
	// Keep is given each config that is stored.
	Keep func(context.Context, endpoint.Blob, endpoint.Opener) error
	// Storing is called before the manifest of a child is stored, Stored after it was.
	Storing, Stored func()
}

// senderTo returns dst as one that blobs are sent to whether it has them or not, nil if it is none.
func senderTo(dst endpoint.Destination) endpoint.BlobSender {
	if by, ok := dst.(*ByDigest); ok {
		dst = by.Destination
	}
	sender, _ := dst.(endpoint.BlobSender)
	return sender
}

// PutBlob keeps what is a config, which the source may not have.
func (d *ByDigest) PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error) {
	if b.Config {
		if err := d.Keep(ctx, b, open); err != nil {
			return endpoint.PutResult{}, err
		}
	}
	return d.Destination.PutBlob(ctx, b, open)
}

// PutManifest stores the manifest of a child by its digest. That of one which IsTop is stored, too,
// if it is for a registry, whose answer alone says whether it takes the type; but not of schema 1,
// which has the digest of a part of it: such a manifest is taken with a tag only. If the
// destination lacks the subject, the error is an *attach.SubjectError.
func (d *ByDigest) PutManifest(ctx context.Context, doc endpoint.Document) error {
	if d.IsTop {
		if _, direct := d.Destination.(*registry.Destination); !direct || doc.MediaType == manifest.MediaTypeDockerSchema1Signed {
			return nil
		}
		return d.put(ctx, doc)
	}
	d.Storing()
	err := d.put(ctx, doc)
	if err == nil {
		d.Stored()
	}
	return err
}

func (d *ByDigest) put(ctx context.Context, doc endpoint.Document) error {
	err := d.Destination.PutManifest(ctx, doc)
	if subject := attach.RefusedSubject(err, doc); subject != "" {
		return &attach.SubjectError{Digest: doc.Digest, Subject: subject, Refusal: err}
	}
	return err
}

// ForVariant makes options those for the variant with the compression format of an image, as it is
// among EnsureCompressionVariantsExist.
func ForVariant(options *upstream.Options, format string) {
	for _, variant := range options.EnsureCompressionVariantsExist {
		if variant.Algorithm.Name() != format {
			continue
		}
		sys := types.SystemContext{}
		if options.DestinationCtx != nil {
			sys = *options.DestinationCtx
		}
		sys.CompressionFormat, sys.CompressionLevel = &variant.Algorithm, variant.Level
		options.DestinationCtx, options.ForceCompressionFormat = &sys, true
	}
}
