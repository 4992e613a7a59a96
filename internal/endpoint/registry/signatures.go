package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// signatureReader reads signatures: sigstore attachments directly, and, where there may be others,
// all of them through the docker transport of containers/image. It spends a request only where
// there may be some: see mayExist.
type signatureReader struct {
	ref    types.ImageReference
	config *signatureConfig
	// hidden finds out whether a repository's failure to hand out a digest tag is
	// endpoint.ErrUnknown. A destination's never is.
	hidden func(context.Context, *repository, error) error

	mu      sync.Mutex
	results map[digest.Digest]*signatureResult // guarded by mu
	source  *lazy[types.ImageSource]
}

// signatureResult is what was read for one digest. Whoever has the turn owns sigs.
type signatureResult struct {
	turn turns.Turn
	sigs endpoint.Signatures // nil until read
}

func newSignatureReader(ref types.ImageReference, sys *types.SystemContext, sh *Shared) (*signatureReader, error) {
	config, err := sh.signatureConfig(sys)
	if err != nil {
		return nil, err
	}
	return &signatureReader{
		ref: ref, config: config, hidden: func(_ context.Context, _ *repository, err error) error { return err },
		results: map[digest.Digest]*signatureResult{},
		source: newLazy(func(ctx context.Context) (types.ImageSource, error) {
			return ref.NewImageSource(ctx, sh.PullContext(ref, sys))
		}),
	}, nil
}

// read returns the signatures of the manifest with digest d, which was read from at.
func (r *signatureReader) read(ctx context.Context, at physical, d digest.Digest) (endpoint.Signatures, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	result := r.result(d)
	done, err := result.turn.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if result.sigs != nil {
		return result.sigs, nil
	}
	sigs, err := r.readOnce(ctx, at, d)
	if err != nil {
		return nil, fmt.Errorf("reading the signatures of %s: %w", d, err)
	}
	result.sigs = sigs
	return sigs, nil
}

func (r *signatureReader) result(d digest.Digest) *signatureResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	result, ok := r.results[d]
	if !ok {
		result = &signatureResult{}
		r.results[d] = result
	}
	return result
}

func (r *signatureReader) readOnce(ctx context.Context, at physical, d digest.Digest) (endpoint.Signatures, error) {
	where, err := r.mayExist(at, d)
	if err != nil {
		return nil, err
	}
	switch where {
	case nowhere:
		return endpoint.NoSignatures(), nil
	case onlyAttached:
		doc, err := at.repo.taggedOnce(ctx, at.repo.shared.newRetrier(), sigstoreTag(d))
		switch {
		case at.repo.saysNotFound(err):
			return endpoint.NoSignatures(), nil
		case err != nil:
			return nil, r.hidden(ctx, at.repo, err)
		}
		return at.repo.attachedSignatures(ctx, doc)
	}
	return patiently(ctx, at.repo.shared, func(ctx context.Context) (endpoint.Signatures, error) {
		source, err := r.source.get(ctx)
		if err != nil {
			return nil, err
		}
		return endpoint.ReadSignatures(ctx, source, &d)
	})
}

// patiently calls f, which speaks to a registry through the docker transport, with a context that
// ends with the time for an answer: that transport waits for ever. Signatures are small, so there
// is no need to look for progress.
func patiently[T any](ctx context.Context, sh *Shared, f func(context.Context) (T, error)) (T, error) {
	late := sh.timeouts().Unanswered(false)
	limited, cancel := context.WithTimeoutCause(ctx, late.Limit, &late)
	defer cancel()
	result, err := f(limited)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = context.Cause(limited)
	}
	return result, err
}

// places are where signatures may be.
type places int

const (
	nowhere places = iota
	onlyAttached
	elsewhere // too
)

// sigstoreTag is the tag of the sigstore attachment of d.
func sigstoreTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() + ".sig" }

// mayExist says where the docker transport would find signatures without asking anybody, or would
// have to ask.
func (r *signatureReader) mayExist(at physical, d digest.Digest) (places, error) {
	if at.repo.host.signatures.holds(at.repo.shared.now()) {
		return elsewhere, nil
	}
	ref, err := docker.NewReference(at.ref)
	if err != nil {
		return nowhere, err
	}
	base, err := r.config.lookaside(ref)
	if err != nil {
		return nowhere, err
	}
	may, err := lookasideMayHave(base, d)
	switch {
	case err != nil:
		return nowhere, err
	case may:
		return elsewhere, nil
	case r.config.usesAttachments(ref):
		return onlyAttached, nil
	}
	return nowhere, nil
}

// lookasideMayHave looks for the first signature of d in a lookaside that is a directory. Any other
// must be asked. docs/signature-protocols.md of containers/image.
func lookasideMayHave(base *url.URL, d digest.Digest) (bool, error) {
	if base.Scheme != "file" {
		return true, nil
	}
	_, err := os.Stat(fmt.Sprintf("%s@%s=%s/signature-1", base.Path, d.Algorithm(), d.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, nil // whatever the error is, the docker transport reports it
}

func (r *signatureReader) close() error { return r.source.close() }

// signatureWriter writes signatures through the docker transport of containers/image.
type signatureWriter struct {
	shared      *Shared
	destination *lazy[types.ImageDestination]
}

func newSignatureWriter(ref types.ImageReference, sys *types.SystemContext, sh *Shared) *signatureWriter {
	return &signatureWriter{shared: sh, destination: newLazy(func(ctx context.Context) (types.ImageDestination, error) {
		return ref.NewImageDestination(ctx, sh.PushContext(ref, sys))
	})}
}

func (w *signatureWriter) put(ctx context.Context, d digest.Digest, sigs endpoint.Signatures) error {
	if sigs == nil || sigs.Len() == 0 {
		return nil
	}
	_, err := patiently(ctx, w.shared, func(ctx context.Context) (struct{}, error) {
		destination, err := w.destination.get(ctx)
		if err == nil {
			err = sigs.Put(ctx, destination, &d)
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("writing the signatures of %s: %w", d, err)
	}
	return nil
}

func (w *signatureWriter) close() error { return w.destination.close() }

// lazy is something that is opened when it is needed first, and again only if that failed.
type lazy[T io.Closer] struct {
	open func(context.Context) (T, error)
	turn turns.Turn // whoever has it owns the other fields
	has  bool
	it   T
}

func newLazy[T io.Closer](open func(context.Context) (T, error)) *lazy[T] {
	return &lazy[T]{open: open}
}

func (l *lazy[T]) get(ctx context.Context) (T, error) {
	var none T
	done, err := l.turn.Take(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	if l.has {
		return l.it, nil
	}
	it, err := l.open(ctx)
	if err != nil {
		return none, err
	}
	l.it, l.has = it, true
	return it, nil
}

func (l *lazy[T]) close() error {
	done, _ := l.turn.Take(context.Background()) // which does not end
	defer done()
	if !l.has {
		return nil
	}
	l.has = false
	return l.it.Close()
}
