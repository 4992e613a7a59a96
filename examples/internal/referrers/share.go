package referrers

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	// smallManifest is how many bytes a manifest may have that is read beside others, smallList how
	// many a tag's list, and a page. What is larger is read, and made, by who has a share.
	smallManifest = 32 << 10
	smallList     = 512 << 10

	// shareBytes is about how much memory somebody takes at the most who has a share: for a page or
	// the list of a tag, and for a manifest that is read, with what parsers make of them.
	shareBytes = 9 * manifest.MaxSize
)

// Admit waits until there are weight bytes of memory, which are taken until release is called. Its
// error says why there are none. It may be called concurrently.
type Admit func(ctx context.Context, weight int64) (release func(), err error)

// A share is the memory that one request may take beside the little that each does. It asks for it
// once, when that turns out to be needed, and keeps it; meanwhile it waits for the storage only.
// Only one goroutine uses it.
type share struct {
	admit   Admit
	release func() // nil if it has none
}

// A noShareError says that there was no memory.
type noShareError struct{ error }

func (e *noShareError) Unwrap() error { return e.error }

func (s *share) take(ctx context.Context) (err error) {
	if s.release != nil {
		return nil
	}
	if s.release, err = s.admit(ctx, shareBytes); err != nil {
		return &noShareError{err}
	}
	return nil
}

func (s *share) taken() bool { return s.release != nil }

func (s *share) giveBack() {
	if s.release != nil {
		s.release()
		s.release = nil
	}
}

// admitWriter is Admit for those who write tags, one after the other: they have a place of their
// own, so that nobody who reads keeps them waiting.
func (l *Links) admitWriter(ctx context.Context, _ int64) (release func(), err error) {
	select {
	case l.writing <- struct{}{}:
		return func() { <-l.writing }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// readContent reads a content, and takes the share if it has more than small bytes.
func (l *Links) readContent(ctx context.Context, s *share, d digest.Digest, small int64) ([]byte, error) {
	body, err := l.store.ReadBlob(ctx, d, small)
	if !errors.Is(err, registrystore.ErrTooLarge) {
		return body, err
	}
	if err := s.take(ctx); err != nil {
		return nil, err
	}
	return l.store.ReadBlob(ctx, d, manifest.MaxSize)
}
