package copy

import (
	"context"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// sendLost stores doc by calling put, and what the registry lacks for it all the same: see endpoint.SendLost.
func (j *job) sendLost(ctx context.Context, doc endpoint.Document, put func() error) error {
	dst, direct := j.dst.(*registry.Destination)
	if !direct || (Document{MediaType: doc.MediaType, Bytes: doc.Bytes}).IsList() {
		return put()
	}
	image, err := j.imageCopy(doc)
	if err != nil {
		return err
	}
	return endpoint.SendLost(image.blobs, put, func(b endpoint.Blob) error {
		if err := dst.SendBlob(ctx, b, j.opener(b, nil)); err != nil {
			return err
		}
		j.sentAgain(b)
		return nil
	})
}

// sentAgain reports a blob that was thought to be there.
func (j *job) sentAgain(b endpoint.Blob) {
	j.mu.Lock()
	reused := j.reused[b.Digest]
	delete(j.reused, b.Digest)
	j.mu.Unlock()
	j.reporter.update(func(r *Report) {
		if reused {
			r.BlobsReused--
		}
		r.BlobsCopied++
		r.BytesCopied = plan.AddSize(r.BytesCopied, max(b.Size, 0))
	})
}
