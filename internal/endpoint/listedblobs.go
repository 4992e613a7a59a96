package endpoint

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// Present asks dst which of blobs it has, within the budget. Of what it does not tell about,
// nothing is known.
func Present(ctx context.Context, budget *semaphore.Weighted, dst Destination, blobs []Blob) (map[digest.Digest]bool, error) {
	has := map[digest.Digest]bool{}
	note := func(b Blob, there bool, err error) error {
		if err != nil {
			logrus.Debugf("the destination does not tell whether it has %s: %v", b.Digest, err)
			return nil
		}
		has[b.Digest] = there
		return nil
	}
	err := inflight.Ask(ctx, budget, blobs, dst.HasBlob, note)
	return has, err
}

// Missing asks src which of blobs it definitely does not have, within the budget. Any other failure
// is that of who reads the blob.
func Missing(ctx context.Context, budget *semaphore.Weighted, src SizedSource, blobs []Blob) (map[digest.Digest]bool, error) {
	missing := map[digest.Digest]bool{}
	scattered, _ := src.(Scattered)
	note := func(b Blob, _ int64, err error) error {
		if errors.Is(err, ErrNotFound) && (scattered == nil || scattered.Lacks(b)) {
			missing[b.Digest] = true
		}
		return nil
	}
	err := inflight.Ask(ctx, budget, blobs, src.BlobSize, note)
	return missing, err
}

// A BlobSender is a destination to which blobs can be sent that it may have.
type BlobSender interface {
	HasBlob(ctx context.Context, b Blob) (bool, error)
	SendBlob(ctx context.Context, b Blob, open Opener) error
}

// SendAbsent sends those of blobs that dst says it does not have, within the budget, and tells sent
// of each.
func SendAbsent(
	ctx context.Context, budget *semaphore.Weighted, dst BlobSender, blobs []Blob, open func(Blob) Opener, sent func(Blob),
) error {
	return inflight.Each(ctx, budget, blobs, func(ctx context.Context, b Blob) error {
		if there, err := dst.HasBlob(ctx, b); there || err != nil {
			return nil //nolint:nilerr // it is there, as far as is known
		}
		ctx = WithSpare(ctx, budget, 1)
		if err := Twice(func() error { return dst.SendBlob(ctx, b, open(b)) }); err != nil {
			return err
		}
		sent(b)
		return nil
	})
}
