package transforming

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	compressiontypes "go.podman.io/image/v5/pkg/compression/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Results are what layers have become, so that a layer which several images have is read, encoded
// and sent once. They are safe for concurrent use.
type results struct {
	mu sync.Mutex // guards of
	of map[key]*outcome
}

// An outcome is what becomes of one layer.
type outcome struct {
	over chan struct{} // is closed when it is known, or when whoever worked on it has failed
	// Valid once over is closed.
	ok      bool
	written endpoint.Blob
	format  string // in which the layer is compressed at the source, "" for none
}

// A claim is the work on a layer that others wait for. finish or abandon has to be called.
type claim struct {
	results *results
	key     key
	outcome *outcome
	once    sync.Once
}

// claim returns what a layer has become, for which it waits if somebody works on it, or the claim
// of the caller, who has to do the work. The caller has a slot of layers, which others have while
// it waits: whoever does the work may need one.
func (r *results) claim(ctx context.Context, k key, layers *semaphore.Weighted) (*outcome, *claim, error) {
	for {
		o, mine := r.outcome(k)
		if mine != nil {
			return nil, mine, nil
		}
		if err := o.wait(ctx, layers); err != nil {
			return nil, nil, err
		}
		if o.ok {
			return o, nil, nil
		}
	}
}

// wait waits for the outcome without a slot of layers, and returns with one again.
func (o *outcome) wait(ctx context.Context, layers *semaphore.Weighted) error {
	select {
	case <-o.over:
		return nil
	default:
	}
	layers.Release(1)
	defer layers.Acquire(context.WithoutCancel(ctx), 1) //nolint:errcheck // it cannot fail
	select {
	case <-o.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// outcome returns the outcome for k, or a claim for one if there is none.
func (r *results) outcome(k key) (*outcome, *claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o, ok := r.of[k]; ok {
		return o, nil
	}
	if r.of == nil {
		r.of = map[key]*outcome{}
	}
	o := &outcome{over: make(chan struct{})}
	r.of[k] = o
	return nil, &claim{results: r, key: k, outcome: o}
}

// finish says what the layer, which is compressed in the given format, has become.
func (c *claim) finish(written endpoint.Blob, format string) {
	if _, known := placeholders[format]; !known {
		c.abandon()
		return
	}
	c.once.Do(func() {
		c.outcome.ok, c.outcome.written, c.outcome.format = true, written, format
		close(c.outcome.over)
	})
}

// abandon leaves the layer to the next who wants it, unless it is finished.
func (c *claim) abandon() {
	c.once.Do(func() {
		c.results.mu.Lock()
		delete(c.results.of, c.key)
		c.results.mu.Unlock()
		close(c.outcome.over)
	})
}

// Placeholders are what upstream reads in the place of a layer whose outcome is known: it decides
// by the first bytes what it would do to the layer, and gets ready for that. They are valid, so
// that decoders start, and their end is never reached.
var placeholders = map[string][]byte{
	"":                                 make([]byte, 512),
	compressiontypes.GzipAlgorithmName: {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	compressiontypes.ZstdAlgorithmName: {0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 1, 0, 0},
}
