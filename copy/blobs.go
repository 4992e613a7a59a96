package copy

import (
	"context"
	"errors"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
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
		return &Error{"writing blobs again for", DestinationSide, l.Result.String(), err}
	}
	return nil
}

// refusesBlobs reports whether a list was refused because it names blobs, as far as the answer
// tells: everything else that it names is there. Distribution refuses such a list as if its blobs
// were absent.
func refusesBlobs(put *listPutError, kind sparsesupport.Refusal) bool {
	return put.list.NamesBlobs() && len(put.list.Absent) == 0 && (kind != sparsesupport.Otherwise || endpoint.RefusesType(put.err))
}

// blobsRefused says that a list was refused because it names blobs.
func blobsRefused(put *listPutError) *BlobsRefusedError {
	refused := &BlobsRefusedError{List: put.list.Result, Refusal: put.err}
	for _, ip := range put.list.Instances {
		switch {
		case !ip.IsBlob():
			continue
		case ip.Decision != Copy:
			refused.LeftOut++
		}
		refused.Blobs++
	}
	return refused
}
