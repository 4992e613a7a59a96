package reporting

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// A Transfer shows and reports a blob of an image that is transformed.
type Transfer struct {
	Report *Collector
	Owner  digest.Digest // the image
	Shown  *progress.Blob
	From   endpoint.Opener
}

// Open opens the blob where it is read from.
func (t *Transfer) Open(ctx context.Context) (io.ReadCloser, error) { return t.From(ctx) }

// End says what became of it: written is what it is at the destination, unless it failed.
func (t *Transfer) End(written endpoint.Blob, outcome progress.Outcome) {
	t.Shown.End(outcome)
	if outcome != progress.Failed {
		t.Report.TransformedBlob(written, t.Owner, outcome == progress.Reused)
	}
}
