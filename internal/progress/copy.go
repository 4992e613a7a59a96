package progress

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A Copy tells what one copy does. Its methods are safe for concurrent use.
type Copy struct {
	report   io.Writer  // of the caller
	mu       sync.Mutex // guards writer, terminal, held and holding
	writer   io.Writer  // of lines: report, or terminal
	terminal *terminal  // where blobs are drawn; nil if nowhere
	held     []string   // lines of the time before it is decided who does the work: upstream has lines of its own for that time
	holding  bool
	events   chan types.ProgressProperties // nil if nobody listens
	interval time.Duration
}

// New returns the Copy that writes lines to report, which may be nil, and sends to events, if interval
// is positive: of one blob no oftener than that. It holds the lines until Release or Forget.
func New(report io.Writer, events chan types.ProgressProperties, interval time.Duration) *Copy {
	p := &Copy{report: report, interval: interval, holding: true}
	if p.report == nil {
		p.report = io.Discard
	}
	p.writer = p.report
	if interval > 0 {
		p.events = events
	}
	return p
}

// Line writes one line. A writer that fails does not fail the copy.
func (p *Copy) Line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if p.holding {
		p.held = append(p.held, line)
		return
	}
	_, _ = fmt.Fprintln(p.writer, line)
}

// Release writes the lines that were held, and holds no more. If the caller's writer is a terminal, blobs are drawn on it from now
// on, until End.
func (p *Copy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.holding {
		return
	}
	p.enter()
	for _, line := range p.held {
		_, _ = fmt.Fprintln(p.writer, line)
	}
	p.held, p.holding = nil, false
}

// Forget drops the lines that were held, and holds no more. What it returns takes the lines of upstream's copy, which draws bars of its
// own on the caller's terminal, but not if other copies run besides: on what they share it writes lines, until End.
func (p *Copy) Forget(alone bool) io.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.holding = nil, false
	if !alone {
		p.enter()
	}
	return p.writer
}

// enter enters the caller's terminal, if there is one. mu is held.
func (p *Copy) enter() {
	if s := screenOf(p.report); s != nil {
		p.terminal = enter(s)
		p.writer = p.terminal
	}
}

// End ends what Release and Forget have begun. Everything is on the caller's terminal then, with the cursor below it.
func (p *Copy) End() {
	p.mu.Lock()
	t := p.terminal
	p.terminal, p.writer = nil, p.report
	p.mu.Unlock()
	if t != nil {
		t.leave()
	}
}

// send sends an event unless ctx ends first: the reader may have gone with whoever cancelled.
func (p *Copy) send(ctx context.Context, e types.ProgressProperties) {
	if p.events == nil {
		return
	}
	select {
	case p.events <- e:
	case <-ctx.Done():
	}
}

// A Blob follows one blob. Its methods may run concurrently: the reader of an attempt that failed can still be at work
// when the next one starts.
type Blob struct {
	p        *Copy
	ctx      context.Context
	artifact types.BlobInfo
	label    string       // what is copied, for people
	terminal *terminal    // where it is drawn; nil if nowhere
	offset   atomic.Int64 // read by the newest reader

	mu        sync.Mutex // guards what follows
	announced bool
	reported  uint64 // the largest offset that was sent: a retry does not take events back
	last      time.Time
}

// Blob begins to follow a blob: with a line, or with a bar on a terminal. It ends with Done or Failed.
func (p *Copy) Blob(ctx context.Context, b endpoint.Blob) *Blob {
	kind := "blob"
	if b.Config {
		kind = "config"
	}
	bp := &Blob{
		p: p, ctx: ctx, last: time.Now(), label: blobLabel(kind, b.Digest),
		artifact: types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType},
	}
	p.mu.Lock()
	bp.terminal = p.terminal
	p.mu.Unlock()
	if bp.terminal != nil {
		bp.terminal.add(bp)
	} else {
		p.Line("Copying %s %s", kind, b.Digest)
	}
	return bp
}

// blobLabel names a blob in so few columns that bars begin in the same one.
func blobLabel(kind string, d digest.Digest) string {
	_, hex, _ := strings.Cut(d.String(), ":")
	label := fmt.Sprintf("Copying %s %s", kind, hex)
	return label[:min(len(label), len("Copying blob 0123456789ab"))]
}

// Restart says that the next bytes are the first ones of the blob.
func (bp *Blob) Restart() { bp.offset.Store(0) }

// Advance says that n more bytes were read.
func (bp *Blob) Advance(n int) {
	offset := bp.offset.Add(int64(n))
	if bp.p.events == nil || n == 0 {
		return
	}
	bp.mu.Lock()
	defer bp.mu.Unlock()
	bp.announce()
	if uint64(offset) <= bp.reported || time.Since(bp.last) < bp.p.interval {
		return
	}
	bp.event(types.ProgressEventRead)
	bp.last = time.Now()
}

// Failed ends the blob: it was not copied.
func (bp *Blob) Failed() { bp.finish("") }

// finish takes the bar away, and leaves a line with the outcome behind, if there is one.
func (bp *Blob) finish(outcome string) {
	if bp.terminal != nil {
		bp.terminal.finish(bp, outcome)
	}
}

// Done ends the blob: it was copied, or it was there already.
func (bp *Blob) Done(reused bool) {
	if reused {
		bp.finish("skipped: already exists")
	} else {
		bp.finish("done")
	}
	bp.mu.Lock()
	defer bp.mu.Unlock()
	if reused {
		bp.p.send(bp.ctx, types.ProgressProperties{Event: types.ProgressEventSkipped, Artifact: bp.artifact})
		return
	}
	bp.announce()
	bp.event(types.ProgressEventDone)
}

// announce sends the first event of a blob that is copied. mu is held.
func (bp *Blob) announce() {
	if !bp.announced {
		bp.announced = true
		bp.p.send(bp.ctx, types.ProgressProperties{Event: types.ProgressEventNewArtifact, Artifact: bp.artifact})
	}
}

// event sends an event about how far the blob has come. mu is held.
func (bp *Blob) event(kind types.ProgressEvent) {
	offset := max(uint64(bp.offset.Load()), bp.reported)
	bp.p.send(bp.ctx, types.ProgressProperties{
		Event: kind, Artifact: bp.artifact, Offset: offset, OffsetUpdate: offset - bp.reported,
	})
	bp.reported = offset
}
