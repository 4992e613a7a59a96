package reading

import (
	"context"
	"io"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// OpenBlob returns an Opener of b, which read starts reading at a side. bp is told what is read; it
// may be nil. Errors are those of an operation at that side.
func OpenBlob(
	read func(context.Context, endpoint.Blob) (io.ReadCloser, error), side failure.Side, b endpoint.Blob, bp *progress.Blob,
) endpoint.Opener {
	failed := func(err error) error { return failure.New("reading blob", side, b.Digest.String(), err) }
	return func(ctx context.Context) (io.ReadCloser, error) {
		stream, err := read(ctx, b)
		if err != nil {
			return nil, failed(err)
		}
		bp.Restart()
		return endpoint.Verified(stream, b, bp.Advance, failed), nil
	}
}
