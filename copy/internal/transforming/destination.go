package transforming

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A destinationRef is a reference that opens what is open already.
type destinationRef struct {
	types.ImageReference
	ends *ends
}

func (r *destinationRef) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return nil, errReading
}

func (r *destinationRef) NewImageDestination(context.Context, *types.SystemContext) (types.ImageDestination, error) {
	return &destination{r.ends, r}, nil
}

// A destination stores what one image needs, and its manifest, by their digests.
type destination struct {
	*ends
	ref types.ImageReference
}

func (d *destination) Reference() types.ImageReference                   { return d.ref }
func (d *destination) Close() error                                      { return nil }
func (d *destination) SupportedManifestMIMETypes() []string              { return d.supported() }
func (d *destination) AcceptsForeignLayerURLs() bool                     { return d.image.Wants.Foreign }
func (d *destination) MustMatchRuntimeOS() bool                          { return false }
func (d *destination) IgnoresEmbeddedDockerReference() bool              { return false }
func (d *destination) HasThreadSafePutBlob() bool                        { return true }
func (d *destination) Commit(context.Context, types.UnparsedImage) error { return nil }

func (d *destination) DesiredLayerCompression() types.LayerCompression {
	switch d.image.Wants.Layers {
	case plan.CompressLayers:
		return types.Compress
	case plan.DecompressLayers:
		return types.Decompress
	}
	return types.PreserveOriginal
}

var errNoSignatures = errors.New("the image is transformed without signatures")

func (d *destination) SupportsSignatures(context.Context) error { return errNoSignatures }

func (d *destination) PutSignatures(context.Context, [][]byte, *digest.Digest) error {
	return errNoSignatures
}

// TryReusingBlob reports whether the destination has the blob as the source has it.
func (d *destination) TryReusingBlob(
	ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache, _ bool,
) (bool, types.BlobInfo, error) {
	b := endpoint.Blob{Digest: info.Digest, Size: info.Size, MediaType: info.MediaType}
	if d.sendsAll || b.Size < 0 || !d.changes.statable(info) {
		return false, types.BlobInfo{}, nil
	}
	there, err := d.has(ctx, b)
	if err != nil || !there {
		return false, types.BlobInfo{}, err
	}
	d.leaveEarly(b.Digest)
	d.begin(b)
	d.wrote(b.Digest, b, true)
	return true, types.BlobInfo{Digest: b.Digest, Size: b.Size}, nil
}

// has reports whether the destination has b.
func (d *destination) has(ctx context.Context, b endpoint.Blob) (bool, error) {
	if there := d.askedFor(b.Digest); there != nil {
		return there.wait(ctx)
	}
	there, err := endpoint.Present(ctx, d.budget, d.image.Destination, []endpoint.Blob{b})
	return there[b.Digest], err
}

// PutBlob stores a config, or the layer that is paired with it.
func (d *destination) PutBlob(
	ctx context.Context, stream io.Reader, info types.BlobInfo, _ types.BlobInfoCache, isConfig bool,
) (types.BlobInfo, error) {
	var written endpoint.Blob
	var err error
	switch {
	case isConfig:
		written, err = d.putConfig(ctx, stream, info)
	default:
		l := d.pairing.take()
		switch {
		case l == nil:
			err = fmt.Errorf("layer %s is to be stored, and was not read", info.Digest)
		case l.known != nil:
			written, err = d.putKnown(l, info)
			drain(stream)
		case info.Digest != "" && l.blob.Size >= 0:
			written, err = d.putAsItIs(ctx, l, stream, info)
		default:
			written, err = d.putSpooled(ctx, l, stream, info)
		}
	}
	if err != nil {
		err = d.fail(err)
		drain(stream)
		return types.BlobInfo{}, err
	}
	return types.BlobInfo{Digest: written.Digest, Size: written.Size}, nil
}

// drain reads a stream to its end, which is near: its layer is known, or reading it has been ended
// by fail. Upstream does not wait for the goroutine that compresses a layer anew, and closes the
// decompressor under it.
func drain(stream io.Reader) { _, _ = io.Copy(io.Discard, stream) }

// putConfig stores a config, which is that of the source or was made of it.
func (d *destination) putConfig(ctx context.Context, stream io.Reader, info types.BlobInfo) (endpoint.Blob, error) {
	content, err := io.ReadAll(stream)
	if err != nil {
		return endpoint.Blob{}, err
	}
	b := endpoint.Blob{Digest: info.Digest, Size: int64(len(content)), MediaType: info.MediaType, Config: true}
	if d.configStored != nil && b.Digest == d.config {
		_, err = d.configStored.wait(ctx)
	} else {
		err = d.storeConfig(ctx, b, content)
	}
	return b, err
}

// storeConfig stores a config that is in memory.
func (e *ends) storeConfig(ctx context.Context, b endpoint.Blob, content []byte) error {
	travels, err := take(ctx, e.budget, e.weigh(b))
	if err != nil {
		return err
	}
	defer travels.release()
	open := func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	return e.put(ctx, cmp.Or(e.config, b.Digest), b, open)
}

// putKnown returns what l has become.
func (d *destination) putKnown(l *layer, info types.BlobInfo) (endpoint.Blob, error) {
	b := l.known.written
	if info.Digest != "" && info.Digest != b.Digest {
		return endpoint.Blob{}, fmt.Errorf("layer %s was stored as %s for another image, and would not be for this one", info.Digest, b.Digest)
	}
	d.wrote(l.blob.Digest, b, true)
	return b, nil
}

// putAsItIs stores l, which is not changed. It goes straight through; if it has to be sent again,
// it is read again.
func (d *destination) putAsItIs(ctx context.Context, l *layer, stream io.Reader, info types.BlobInfo) (endpoint.Blob, error) {
	if info.Digest != l.blob.Digest {
		return endpoint.Blob{}, fmt.Errorf("layer %s is to be stored as %s, unchanged", l.blob.Digest, info.Digest)
	}
	defer l.travels.release()
	first := &lent{stream: stream}
	defer first.end()
	open := func(ctx context.Context) (io.ReadCloser, error) {
		if first.taken.CompareAndSwap(false, true) {
			return first, nil
		}
		return l.open(ctx)
	}
	if err := d.put(ctx, l.blob.Digest, l.blob, open); err != nil {
		return endpoint.Blob{}, d.fail(err) // ends a Read that first.end waits for
	}
	l.made(l.blob)
	return l.blob, nil
}

// putSpooled stores what l has become, once it is known what that is: a manifest has to state its
// size, too.
func (d *destination) putSpooled(ctx context.Context, l *layer, stream io.Reader, info types.BlobInfo) (endpoint.Blob, error) {
	s, err := newSpool(d.options.DestinationCtx)
	if err != nil {
		return endpoint.Blob{}, fmt.Errorf("keeping what becomes of layer %s: %w", l.blob.Digest, err)
	}
	defer s.close()
	b, err := s.fill(stream)
	if err != nil {
		return endpoint.Blob{}, fmt.Errorf("encoding layer %s: %w", l.blob.Digest, err)
	}
	switch {
	case !l.wasRead():
		return endpoint.Blob{}, fmt.Errorf("encoding layer %s: it was not read to its end", l.blob.Digest)
	case info.Digest != "" && info.Digest != b.Digest:
		return endpoint.Blob{}, fmt.Errorf("layer %s is to be stored as %s, and is %s", l.blob.Digest, info.Digest, b.Digest)
	}
	l.travels.release()
	l.encoder.release()
	l.ahead.release()
	travels, err := take(ctx, d.budget, d.weigh(b))
	if err != nil {
		return endpoint.Blob{}, err
	}
	defer travels.release()
	if err := d.put(ctx, l.blob.Digest, b, s.open(b)); err != nil {
		return endpoint.Blob{}, err
	}
	l.made(b)
	return b, nil
}

// put stores b, which comes of a blob of the source.
func (e *ends) put(ctx context.Context, source digest.Digest, b endpoint.Blob, open endpoint.Opener) error {
	var result endpoint.PutResult
	err := endpoint.Twice(func() (err error) {
		if e.sendsAll {
			return e.sender.SendBlob(ctx, b, open)
		}
		result, err = e.image.Destination.PutBlob(ctx, b, open)
		return err
	})
	if err != nil {
		return &Error{Op: "writing blob", AtDestination: true, Object: b.Digest.String(), Err: err}
	}
	e.wrote(source, b, result.Reused)
	return nil
}

// PutManifest stores the manifest by its digest. If the destination does not take its type,
// upstream tries the next one.
func (d *destination) PutManifest(ctx context.Context, content []byte, instance *digest.Digest) error {
	if instance != nil {
		return d.fail(errNoList)
	}
	dgst, err := upstreammanifest.Digest(content)
	if err != nil {
		return d.fail(fmt.Errorf("hashing the manifest: %w", err))
	}
	guess := upstreammanifest.GuessMIMEType(content)
	doc := endpoint.Document{Digest: dgst, MediaType: cmp.Or(manifest.TypeOf(content, guess), guess), Bytes: content}
	err = inflight.One(ctx, d.budget, func() error { return d.image.Destination.PutManifest(ctx, doc) })
	switch {
	case endpoint.RefusesType(err):
		err = &Error{"writing manifest", true, dgst.String(), err}
		d.refuse(err)
		return types.ManifestTypeRejectedError{Err: err}
	case d.sender != nil && !d.sendsAll && endpoint.SaysLost(err, d.blobs()):
		return d.fail(&lostError{err})
	case err != nil:
		return d.fail(&Error{"writing manifest", true, dgst.String(), err})
	}
	d.store(doc)
	return nil
}

// blobs returns the blobs that are at the destination, or that it says are.
func (e *ends) blobs() []endpoint.Blob {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Concat(e.done.Copied, e.done.Reused)
}

// refuse notes that the destination does not take the manifest in one of its types.
func (e *ends) refuse(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusal = cmp.Or(e.refusal, err)
}

// store notes what the manifest is at the destination.
func (e *ends) store(doc endpoint.Document) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done.Document = doc
}

// Lent content is read by a transport, maybe for longer than it takes to store it: a request may be
// answered while its content is still being sent.
type lent struct {
	taken  atomic.Bool
	mu     sync.Mutex // is held while stream is read
	stream io.Reader  // nil when it is over
}

var errOver = errors.New("the content is stored already")

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil {
		return 0, errOver
	}
	return l.stream.Read(p)
}

func (l *lent) Close() error { return nil }

// end takes the content back, once nobody reads it.
func (l *lent) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream = nil
}
