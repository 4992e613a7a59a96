package copy

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

// progress tells the caller what happens, in lines and bars (Options.ReportWriter) and events (Options.Progress). Its methods may run
// concurrently.
type progress struct {
	report   io.Writer  // of the caller
	mu       sync.Mutex // guards writer, terminal, held and holding
	writer   io.Writer  // of lines: report, or terminal
	terminal *terminal  // where blobs are drawn; nil if nowhere
	held     []string   // lines of the time before it is decided who does the work: upstream has lines of its own for that time
	holding  bool
	events   chan types.ProgressProperties // nil if nobody listens
	interval time.Duration
}

func newProgress(o *Options) *progress {
	p := &progress{report: o.ReportWriter, interval: o.ProgressInterval, holding: true}
	if p.report == nil {
		p.report = io.Discard
	}
	p.writer = p.report
	if o.ProgressInterval > 0 {
		p.events = o.Progress
	}
	return p
}

// line writes one line. A writer that fails does not fail the copy.
func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if p.holding {
		p.held = append(p.held, line)
		return
	}
	_, _ = fmt.Fprintln(p.writer, line)
}

// release writes the lines that were held, and holds no more. If the caller's writer is a terminal, blobs are drawn on it from now
// on, until end.
func (p *progress) release() {
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

// forget drops the lines that were held, and holds no more. What it returns takes the lines of upstream's copy, which draws bars of its
// own on the caller's terminal, but not if other copies run besides: on what they share it writes lines, until end.
func (p *progress) forget(alone bool) io.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.holding = nil, false
	if !alone {
		p.enter()
	}
	return p.writer
}

// enter enters the caller's terminal, if there is one. mu is held.
func (p *progress) enter() {
	if s := screenOf(p.report); s != nil {
		p.terminal = enter(s)
		p.writer = p.terminal
	}
}

// end ends what release and forget have begun. Everything is on the caller's terminal then, with the cursor below it.
func (p *progress) end() {
	p.mu.Lock()
	t := p.terminal
	p.terminal, p.writer = nil, p.report
	p.mu.Unlock()
	if t != nil {
		t.leave()
	}
}

// send sends an event unless ctx ends first: the reader may have gone with whoever cancelled.
func (p *progress) send(ctx context.Context, e types.ProgressProperties) {
	if p.events == nil {
		return
	}
	select {
	case p.events <- e:
	case <-ctx.Done():
	}
}

// A blobProgress follows one blob. Its methods may run concurrently: the reader of an attempt that failed can still be at work
// when the next one starts.
type blobProgress struct {
	p        *progress
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

// blob begins to follow a blob: with a line, or with a bar on a terminal. It ends with done or failed.
func (p *progress) blob(ctx context.Context, b endpoint.Blob) *blobProgress {
	kind := "blob"
	if b.Config {
		kind = "config"
	}
	bp := &blobProgress{
		p: p, ctx: ctx, last: time.Now(), label: blobLabel(kind, b.Digest),
		artifact: types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType},
	}
	p.mu.Lock()
	bp.terminal = p.terminal
	p.mu.Unlock()
	if bp.terminal != nil {
		bp.terminal.add(bp)
	} else {
		p.line("Copying %s %s", kind, b.Digest)
	}
	return bp
}

// blobLabel names a blob in so few columns that bars begin in the same one.
func blobLabel(kind string, d digest.Digest) string {
	_, hex, _ := strings.Cut(d.String(), ":")
	label := fmt.Sprintf("Copying %s %s", kind, hex)
	return label[:min(len(label), len("Copying blob 0123456789ab"))]
}

// restart says that the next bytes are the first ones of the blob.
func (bp *blobProgress) restart() { bp.offset.Store(0) }

// read says that n more bytes were read.
func (bp *blobProgress) read(n int) {
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

// failed ends the blob: it was not copied.
func (bp *blobProgress) failed() { bp.finish("") }

// finish takes the bar away, and leaves a line with the outcome behind, if there is one.
func (bp *blobProgress) finish(outcome string) {
	if bp.terminal != nil {
		bp.terminal.finish(bp, outcome)
	}
}

// done ends the blob: it was copied, or it was there already.
func (bp *blobProgress) done(reused bool) {
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
func (bp *blobProgress) announce() {
	if !bp.announced {
		bp.announced = true
		bp.p.send(bp.ctx, types.ProgressProperties{Event: types.ProgressEventNewArtifact, Artifact: bp.artifact})
	}
}

// event sends an event about how far the blob has come. mu is held.
func (bp *blobProgress) event(kind types.ProgressEvent) {
	offset := max(uint64(bp.offset.Load()), bp.reported)
	bp.p.send(bp.ctx, types.ProgressProperties{
		Event: kind, Artifact: bp.artifact, Offset: offset, OffsetUpdate: offset - bp.reported,
	})
	bp.reported = offset
}
