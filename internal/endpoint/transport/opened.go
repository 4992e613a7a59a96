package transport

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// OpenedSource returns ref as a reference that opens what is open already: whoever opens it for
// reading gets what open returns. Upstream's copy opens each end once, and closes what it opened.
func OpenedSource(ref types.ImageReference, open func() types.ImageSource) types.ImageReference {
	return &openedRef{ImageReference: ref, src: open}
}

// OpenedDestination returns ref as a reference that opens dst, which is open already, when it is
// opened for writing.
func OpenedDestination(ref types.ImageReference, dst *Destination) types.ImageReference {
	return &openedRef{ImageReference: ref, dst: dst}
}

type openedRef struct {
	types.ImageReference
	src func() types.ImageSource
	dst *Destination
}

func (r *openedRef) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	if r.src == nil {
		return nil, errors.New("the reference was opened for writing")
	}
	return r.src(), nil
}

func (r *openedRef) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	if r.dst == nil {
		return nil, errors.New("the reference was opened for reading")
	}
	return r.dst.HandOver(), nil
}

// AsItIs returns a registry as upstream reads it, but for what documents are: the registry declares
// some of them to be something else, which upstream believes. Closing it does not close src. It
// hands out no signatures: those of formats that are upstream's own would get lost. Nor does it
// fetch layers from elsewhere.
func AsItIs(src endpoint.Source) types.ImageSource { return &asItIs{src} }

type asItIs struct{ src endpoint.Source }

func (s *asItIs) Reference() types.ImageReference { return s.src.Reference() }

func (s *asItIs) Close() error { return nil }

func (s *asItIs) HasThreadSafeGetBlob() bool { return true }

func (s *asItIs) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		return s.src.Top().Bytes, s.src.Top().MediaType, nil
	}
	doc, err := s.src.Manifest(ctx, *instance)
	return doc.Bytes, doc.MediaType, err
}

func (s *asItIs) GetBlob(
	ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache,
) (io.ReadCloser, int64, error) {
	r, err := s.src.Blob(ctx, endpoint.Blob{Digest: info.Digest, Size: info.Size, MediaType: info.MediaType})
	return r, info.Size, err
}

func (s *asItIs) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) { return nil, nil }

func (s *asItIs) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}
