package transforming

import (
	"context"
	"io"

	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// A foreignSource reads layers from the URLs that their manifest states, or, where it cannot, from
// the source: as upstream does, by the source's own transport. That is opened when the first of
// them is read.
type foreignSource struct {
	ref  types.ImageReference
	sys  *types.SystemContext
	turn turns.Turn        // for opening
	src  types.ImageSource // nil until it has been opened
}

// opener returns an Opener of a layer that has URLs.
func (f *foreignSource) opener(info types.BlobInfo) endpoint.Opener {
	b := endpoint.Blob{Digest: info.Digest, Size: info.Size, MediaType: info.MediaType}
	failed := func(err error) error { return &Error{Op: "reading blob", Object: b.Digest.String(), Err: err} }
	return func(ctx context.Context) (io.ReadCloser, error) {
		src, err := f.open(ctx)
		if err != nil {
			return nil, failed(err)
		}
		r, _, err := src.GetBlob(ctx, info, none.NoCache)
		if err != nil {
			return nil, failed(err)
		}
		return endpoint.Verified(r, b, nil, failed), nil
	}
}

func (f *foreignSource) open(ctx context.Context) (types.ImageSource, error) {
	done, err := f.turn.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if f.src == nil {
		src, err := f.ref.NewImageSource(ctx, f.sys)
		if err != nil { // and src may be a nil pointer, which is not nil here
			return nil, err
		}
		f.src = src
	}
	return f.src, nil
}

// close closes the source. Nothing is read any more.
func (f *foreignSource) close() {
	if f.src != nil {
		_ = f.src.Close()
	}
}
