package transforming

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

var (
	errClosed = errors.New("the layer was closed")
	// errKnown is what upstream gets that reads on in a layer whose outcome is known.
	errKnown = errors.New("the layer need not be read")
)

// A layer is one that upstream reads. Once it is closed, nothing of it is in use any more.
type layer struct {
	ends *ends
	blob endpoint.Blob
	open endpoint.Opener
	// known is what the layer has become, without anything being read; nil if it has to be made.
	known *outcome
	claim *claim // nil if nobody waits for what is made

	ctx    context.Context // ends when the layer is closed
	cancel context.CancelFunc

	travels, encoder, ahead *slots // nil where none are needed

	mu      sync.Mutex // guards what follows
	begun   bool
	closed  bool
	content io.Reader
	stream  io.Closer // under content, nil for none
	format  string    // in which it is compressed, "" for none; valid once begun
	ended   bool      // everything was read
}

// openLayer opens the layer b, which open reads. It waits until the layer may be worked on, or, if
// somebody does, until it is known what became of it.
func (e *ends) openLayer(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (*layer, error) {
	l := &layer{ends: e, blob: b, open: open}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if err := l.start(); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// start makes the content ready to be read, with the slots that it takes. Nobody who has a slot of
// the budget waits for an encoder.
func (l *layer) start() (err error) {
	encodes := l.ends.changes.expect(l.blob.MediaType)
	small := 0 <= l.blob.Size && l.blob.Size <= smallLayer
	early := l.ends.takeEarly(l.blob.Digest)
	switch k, shared := l.ends.shared(l.blob); {
	case early != nil && early.content != nil:
		l.claim = early.claim
	case shared:
		if l.known, l.claim, err = l.ends.results.claim(l.ctx, k, l.ends.limits.layers); err != nil {
			return err
		}
	}
	switch {
	case l.known != nil:
		l.content = io.MultiReader(bytes.NewReader(placeholders[l.known.format]), failing{errKnown})
		if encodes {
			return l.takeEncoder()
		}
		return nil
	case early != nil && early.content != nil:
		held, err := early.content.wait(l.ctx)
		if err != nil {
			return err
		}
		return l.startFrom(held)
	case encodes && small:
		held, err := l.ends.readAhead(l.ctx, l.blob, l.open)
		if err != nil {
			return err
		}
		return l.startFrom(held)
	case encodes:
		if err := l.takeEncoder(); err != nil {
			return err
		}
	}
	if err := l.takeTravels(); err != nil {
		return err
	}
	return l.openStream()
}

// startFrom makes content in memory ready to be read: it need not travel while it waits for an
// encoder.
func (l *layer) startFrom(h *held) error {
	l.ahead, l.content = h.slots, bytes.NewReader(h.content)
	return l.takeEncoder()
}

func (l *layer) takeEncoder() (err error) {
	weight := max(l.ends.changes.memory(l.blob), encoderMemory/maxEncoders)
	l.encoder, err = take(l.ctx, l.ends.limits.encoders, min(weight, encoderMemory))
	return err
}

func (l *layer) takeTravels() (err error) {
	l.travels, err = take(l.ctx, l.ends.budget, l.ends.weigh(l.blob))
	return err
}

func (l *layer) openStream() error {
	stream, err := l.open(l.ctx)
	if err != nil {
		return err
	}
	l.content, l.stream = stream, stream
	return nil
}

// Read implements io.Reader. Upstream reads the first bytes in the goroutine that stores the layer
// next.
func (l *layer) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, errClosed
	}
	if !l.begun {
		l.begun = true
		if err := l.begin(); err != nil {
			return 0, l.ends.fail(err)
		}
	}
	n, err := l.content.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		l.ended = true
		if l.encoder != nil {
			l.travels.release() // what comes out waits in a file
		}
	case err != nil && l.known == nil && l.ctx.Err() == nil:
		_ = l.ends.fail(err)
	}
	return n, err
}

// begin looks at the first bytes, as upstream does next. If they are not what the media type says,
// the layer may need an encoder all the same: then it is read again once it has one.
func (l *layer) begin() error {
	format, decompressor, content, err := compression.DetectCompressionFormat(l.content)
	if err != nil {
		return err
	}
	l.content = content
	if decompressor != nil {
		l.format = format.Name()
	}
	if l.encoder == nil && l.known == nil && l.ends.changes.encode(l.format) {
		_ = l.stream.Close() // which takes more than a slot of the budget
		l.stream = nil
		l.travels.release()
		if err := l.takeEncoder(); err != nil {
			return err
		}
		if err := l.takeTravels(); err != nil {
			return err
		}
		if err := l.openStream(); err != nil {
			return err
		}
	}
	return l.ends.pairing.offer(l)
}

// made says that the layer has become b, which is at the destination.
func (l *layer) made(b endpoint.Blob) {
	if l.claim == nil {
		return
	}
	l.mu.Lock()
	format := l.format
	l.mu.Unlock()
	l.claim.finish(b, format)
}

// wasRead reports whether upstream has read all of the layer.
func (l *layer) wasRead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// Close ends a Read that waits, and gives everything back.
func (l *layer) Close() error {
	l.cancel()
	l.ends.pairing.withdraw(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.stream != nil {
		_ = l.stream.Close() // it was verified while it was read
		l.stream = nil
	}
	l.travels.release()
	l.encoder.release()
	l.ahead.release()
	if l.claim != nil {
		l.claim.abandon()
	}
	return nil
}

// A failing reader fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A pairing tells which of the layers of an image is the one that upstream stores. It does not say:
// of what it has encoded it knows neither digest nor size. But it reads the first bytes of a layer
// and stores it in one goroutine, and does nothing that waits for another layer in between. So a
// layer whose first bytes are read is the next one to be stored, as long as no other is read so far
// before it is.
type pairing struct {
	turn turns.Turn
	next atomic.Pointer[pair]
}

type pair struct {
	layer *layer
	done  func() // gives the turn back
}

// offer makes l the next layer to be stored. It waits until the one before is.
func (p *pairing) offer(l *layer) error {
	done, err := p.turn.Take(l.ctx)
	if err != nil {
		return err
	}
	p.next.Store(&pair{l, done})
	return nil
}

// take returns the layer that is being stored, nil if there is none.
func (p *pairing) take() *layer {
	next := p.next.Swap(nil)
	if next == nil {
		return nil
	}
	next.done()
	return next.layer
}

// withdraw says that l will not be stored, or has been.
func (p *pairing) withdraw(l *layer) {
	if next := p.next.Load(); next != nil && next.layer == l && p.next.CompareAndSwap(next, nil) {
		next.done()
	}
}
