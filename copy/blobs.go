package copy

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// This file has what the steps do about blobs that lists name in the place of manifests.

// askBlobs asks the destination which of these blobs of the plan it has. What it does not tell
// about is copied.
func askBlobs(ctx context.Context, e *ends, p *Plan) (map[digest.Digest]bool, error) {
	has := map[digest.Digest]bool{}
	note := func(b endpoint.Blob, there bool, err error) error {
		if err != nil {
			logrus.Debugf("%s does not tell whether it has %s: %v", e.dstName, b.Digest, err)
			return nil
		}
		has[b.Digest] = there
		return nil
	}
	err := inflight.Ask(ctx, e.budget, work.Entries(p), e.dst.HasBlob, note)
	return has, err
}

// missingBlobs returns which of these blobs of the plan, of those that are to be copied, the source
// definitely does not have. Only a copy that may leave out what is missing has to know that
// beforehand.
func missingBlobs(ctx context.Context, e *ends, p *Plan) (map[digest.Digest]bool, error) {
	if e.o.MissingInstances != SkipMissing {
		return nil, nil
	}
	missing := map[digest.Digest]bool{}
	scattered, _ := e.src.(endpoint.Scattered)
	note := func(b endpoint.Blob, _ int64, err error) error {
		if errors.Is(err, endpoint.ErrNotFound) && (scattered == nil || scattered.Lacks(b)) {
			missing[b.Digest] = true
		}
		return nil // another error is that of who reads it
	}
	err := inflight.Ask(ctx, e.budget, work.Entries(p), e.src.BlobSize, note)
	return missing, err
}

// entry starts the task that copies a blob which a list names, unless an image has it, too.
func (e *executor) entry(b endpoint.Blob) {
	started := time.Now()
	t := e.blob(b, b.Digest)
	e.group.Go(func() error {
		if err := e.await([]*task{t}); err != nil {
			return err
		}
		e.reporter.Copied(b.Digest, time.Since(started), t.reused)
		return nil
	})
}

// sendLostBlobs sends the blobs that a list names and the destination does not have any more.
func (w *writer) sendLostBlobs(ctx context.Context, l *ListPlan) error {
	dst, direct := w.dst.(*registry.Destination)
	if !direct {
		return nil
	}
	return inflight.Each(ctx, w.budget, work.EntriesOf(l), func(ctx context.Context, b endpoint.Blob) error {
		if there, err := dst.HasBlob(ctx, b); there || err != nil {
			return nil //nolint:nilerr // it is there, as far as is known
		}
		if err := dst.SendBlob(ctx, b, w.opener(w.source, b, nil)); err != nil {
			return blobError(b, err)
		}
		w.reporter.BlobAgain(b)
		return nil
	})
}

// refusesBlobs reports whether a list was refused because it names blobs, as far as the answer
// tells: everything else that it names is there. Distribution refuses such a list as if its blobs
// were absent.
func refusesBlobs(put *listPutError, kind sparsesupport.Refusal) bool {
	return put.list.NamesBlobs() && len(put.list.Absent) == 0 && (kind != sparsesupport.Otherwise || endpoint.RefusesType(put.err))
}
