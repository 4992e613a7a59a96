package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/ocihttp"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// maxPayload is how many bytes what a sigstore signature signs may have: upstream reads no
	// more.
	maxPayload = 4 << 20
	// maxPayloads is how many bytes that may be for all signatures of one manifest.
	maxPayloads = 16 << 20
	// payloadsAtOnce is how many of them are read at the same time.
	payloadsAtOnce = 4
)

// attachedSignatures reads the signatures that doc has, a sigstore attachment. Whatever else it has
// is taken for one, as upstream does: their type says what they are.
func (r *repository) attachedSignatures(ctx context.Context, doc endpoint.Document) (endpoint.Signatures, error) {
	image, err := manifest.ParseImage(doc.Bytes, doc.Type())
	if err != nil {
		return nil, fmt.Errorf("sigstore attachment %s: %w", doc.Digest, err)
	}
	if image.MediaType != imgspecv1.MediaTypeImageManifest {
		return nil, fmt.Errorf("sigstore attachment %s has the unexpected type %q", doc.Digest, image.MediaType)
	}
	payloads, err := r.payloads(ctx, image.Layers)
	if err != nil {
		return nil, err
	}
	attached := make([]endpoint.AttachableSignature, len(image.Layers))
	for i, layer := range image.Layers {
		attached[i] = endpoint.AttachableSignature{Payload: *payloads[layer.Digest], Layer: imgspecv1.Descriptor{
			MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, Annotations: layer.Annotations,
		}}
	}
	return endpoint.AttachedSignatures(ctx, attached)
}

// payloads reads the distinct layers of a sigstore attachment: signatures may share one.
func (r *repository) payloads(ctx context.Context, layers []manifest.Descriptor) (map[digest.Digest]*[]byte, error) {
	payloads := map[digest.Digest]*[]byte{}
	var all int64
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(payloadsAtOnce)
	for _, layer := range layers {
		if payloads[layer.Digest] != nil {
			continue
		}
		all += layer.Size
		if layer.Size > maxPayload || all > maxPayloads {
			return nil, fmt.Errorf("signature %s: it, or all of them, have more than the limit of %d, or %d, bytes", layer.Digest, maxPayload, maxPayloads)
		}
		into := new([]byte)
		payloads[layer.Digest] = into
		group.Go(func() error {
			var err error
			*into, err = r.payload(groupCtx, endpoint.Blob{Digest: layer.Digest, Size: layer.Size})
			return err
		})
	}
	return payloads, group.Wait()
}

// payload reads a payload, unless it is kept.
func (r *repository) payload(ctx context.Context, b endpoint.Blob) (content []byte, err error) {
	if content, ok := r.kept.blob(b); ok {
		return content, nil
	}
	err = r.retry(ctx, r.shared.newRetrier(), func() (err error) {
		content, err = r.smallBlob(ctx, b)
		return err
	})
	if err == nil {
		r.kept.keepBlob(b.Digest, content)
	}
	return content, err
}

// Content reads and verifies a blob that fits into memory. The error is endpoint.ErrNotFound if it
// is not there.
func (d *Destination) Content(ctx context.Context, b endpoint.Blob) (content []byte, err error) {
	err = d.repo.retry(ctx, d.shared.newRetrier(), func() (err error) {
		content, err = d.repo.smallBlob(ctx, b)
		return err
	})
	return content, d.repo.wrapNotFound(err)
}

// smallBlob reads a blob that fits into memory.
func (r *repository) smallBlob(ctx context.Context, b endpoint.Blob) ([]byte, error) {
	resp, err := r.send(ctx, &request{method: http.MethodGet, path: "blobs/" + b.Digest.String()})
	if err != nil {
		return nil, err
	}
	failed := func(err error) error { return fmt.Errorf("%s: %w", ocihttp.CleanURL(resp.Request.URL), err) }
	content := endpoint.Verified(resp.Body, b, nil, failed)
	defer content.Close()
	return io.ReadAll(content)
}
