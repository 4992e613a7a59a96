package tasks

import (
	"bytes"
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/reporting"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// A Sender sends single blobs to a destination. Its methods may run concurrently.
type Sender struct {
	Destination endpoint.Destination
	Progress    *progress.Copy
	Reporter    *reporting.Collector
}

// Blob stores b, which open returns an Opener of that tells how far it has come, for the image with
// digest owner, and reports whether the destination had it.
func (s Sender) Blob(ctx context.Context, b endpoint.Blob, owner digest.Digest, open func(*progress.Blob) endpoint.Opener) (reused bool, err error) {
	bp := s.Progress.Blob(ctx, b)
	var result endpoint.PutResult
	err = endpoint.Twice(func() (err error) {
		result, err = s.Destination.PutBlob(ctx, b, open(bp))
		return err
	})
	if err != nil {
		bp.End(progress.Failed)
		return false, failure.WritingBlob(b, err)
	}
	outcome := progress.Copied
	if result.Reused {
		outcome = progress.Reused
	}
	bp.End(outcome)
	s.Reporter.Blob(b, owner, result.Reused)
	return result.Reused, nil
}

// Held stores a blob that is held.
func (s Sender) Held(ctx context.Context, b endpoint.Blob, content []byte) error {
	_, err := s.Blob(ctx, b, "", func(bp *progress.Blob) endpoint.Opener {
		return func(context.Context) (io.ReadCloser, error) {
			bp.Restart()
			same := func(err error) error { return err }
			return endpoint.Verified(io.NopCloser(bytes.NewReader(content)), b, bp.Advance, same), nil
		}
	})
	return err
}
