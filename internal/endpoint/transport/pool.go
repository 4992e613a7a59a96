package transport

import (
	"context"
	"errors"
	"sync"

	"go.podman.io/image/v5/types"
)

// maxIdle bounds the upstream sources that a pool keeps for later.
const maxIdle = 64

// A pool hands out upstream sources of one reference, so that a transport whose source reads one
// blob at a time can be read in parallel.
type pool struct {
	first  *opened
	shared bool // first may be used by everybody at once; open and idle are not used then

	// open opens one more source. Nil where that is too expensive (archives are unpacked each
	// time): then there is only first, and one user at a time.
	open func(context.Context) (types.ImageSource, error)
	idle chan *opened

	mu     sync.Mutex
	closed bool // guarded by mu; nothing is added to idle once it is set
}

// opened is an upstream source of a pool.
type opened struct {
	types.ImageSource
	handed bool // somebody else closes it
}

func (o *opened) close() error {
	if o.handed {
		return nil
	}
	return o.Close()
}

func newPool(first types.ImageSource, shared bool, open func(context.Context) (types.ImageSource, error)) *pool {
	p := &pool{first: &opened{ImageSource: first}, shared: shared, open: open}
	if !shared {
		p.idle = make(chan *opened, maxIdle)
		p.idle <- p.first
	}
	return p
}

// get returns a source for the caller alone (unless the pool is shared) until it calls release,
// once. It waits while all sources are in use and no more can be opened.
func (p *pool) get(ctx context.Context) (src types.ImageSource, release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if p.shared {
		return p.first.ImageSource, func() {}, nil
	}
	select {
	case o := <-p.idle:
		return o.ImageSource, func() { p.put(o) }, nil
	default:
	}
	if p.open != nil {
		if src, err := p.open(ctx); err == nil {
			return src, func() { p.put(&opened{ImageSource: src}) }, nil
		}
		// The reference may name nothing any more, which does not matter to sources that are open
		// already: wait for one.
	}
	select {
	case o := <-p.idle:
		return o.ImageSource, func() { p.put(o) }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (p *pool) put(o *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		select {
		case p.idle <- o:
			return
		default:
		}
	}
	_ = o.close() // nothing was written to it
}

// close closes the sources that nobody uses; the others are closed when they are released.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.shared {
		return p.first.close()
	}
	var errs []error
	for {
		select {
		case o := <-p.idle:
			errs = append(errs, o.close())
		default:
			return errors.Join(errs...)
		}
	}
}
