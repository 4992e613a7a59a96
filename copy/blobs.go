package copy

import (
	"context"
	"errors"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// This file has what write does about blobs that lists name in the place of manifests.

// sendLostBlobs sends the blobs that a list names and the destination does not have any more.
func (w *writer) sendLostBlobs(ctx context.Context, l *ListPlan) error {
	dst, ok := w.dst.(endpoint.BlobSender)
	if !ok {
		return nil
	}
	open := func(b endpoint.Blob) endpoint.Opener { return w.opener(w.source, l.Digest, b, nil) }
	err := endpoint.SendAbsent(ctx, w.budget, dst, work.EntriesOf(l), open, w.reporter.BlobAgain)
	source, ok := errors.AsType[*Error](err) // of a reader
	switch {
	case ok:
		return source
	case err != nil:
		return failure.New("writing blobs again for", DestinationSide, l.Result.String(), err)
	}
	return nil
}
