package copy

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// progress tells the caller what happens, in lines (Options.ReportWriter) and events (Options.Progress). Its methods may run
// concurrently.
type progress struct {
	mu       sync.Mutex // guards writer, held and holding
	writer   io.Writer
	held     []string // lines of the time before it is decided who does the work: upstream has lines of its own for that time
	holding  bool
	events   chan types.ProgressProperties // nil if nobody listens
	interval time.Duration
}

func newProgress(o *Options) *progress {
	p := &progress{writer: o.ReportWriter, interval: o.ProgressInterval, holding: true}
	if p.writer == nil {
		p.writer = io.Discard
	}
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

// release writes the lines that were held, and holds no more.
func (p *progress) release() {
	p.mu.Lock()
	held := p.held
	p.held, p.holding = nil, false
	p.mu.Unlock()
	for _, line := range held {
		p.line("%s", line)
	}
}

// forget drops the lines that were held, and holds no more.
func (p *progress) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.holding = nil, false
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

	mu        sync.Mutex // guards what follows
	announced bool
	offset    uint64 // read by the newest reader
	reported  uint64 // the largest offset that was sent: a retry does not take events back
	last      time.Time
}

func (p *progress) blob(ctx context.Context, b endpoint.Blob) *blobProgress {
	return &blobProgress{
		p: p, ctx: ctx, last: time.Now(),
		artifact: types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType},
	}
}

// restart says that the next bytes are the first ones of the blob.
func (bp *blobProgress) restart() {
	bp.mu.Lock()
	defer bp.mu.Unlock()
	bp.offset = 0
}

// read says that n more bytes were read.
func (bp *blobProgress) read(n int) {
	if bp.p.events == nil || n == 0 {
		return
	}
	bp.mu.Lock()
	defer bp.mu.Unlock()
	bp.announce()
	bp.offset += uint64(n)
	if bp.offset <= bp.reported || time.Since(bp.last) < bp.p.interval {
		return
	}
	bp.event(types.ProgressEventRead)
	bp.last = time.Now()
}

// done ends the blob: it was copied, or it was there already.
func (bp *blobProgress) done(reused bool) {
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
	offset := max(bp.offset, bp.reported)
	bp.p.send(bp.ctx, types.ProgressProperties{
		Event: kind, Artifact: bp.artifact, Offset: offset, OffsetUpdate: offset - bp.reported,
	})
	bp.reported = offset
}
