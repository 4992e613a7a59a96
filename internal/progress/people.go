package progress

import (
	"fmt"
	"io"
	"sync"
)

// people read lines, or look at a terminal. The methods are safe for concurrent use.
type people struct {
	report io.Writer // of the caller

	mu       sync.Mutex // guards what follows
	writer   io.Writer  // of lines: report, or terminal
	terminal *terminal  // that was entered last; nil if none
	drawing  bool       // terminal was not left
	held     []string   // lines of the time before it is decided who does the work
	holding  bool
}

func newPeople(report io.Writer) *people {
	if report == nil {
		report = io.Discard
	}
	return &people{report: report, writer: report, holding: true}
}

// take writes or draws an event. A writer that fails does not fail the copy.
func (p *people) take(e Event) {
	if _, advances := e.(BlobAdvances); advances {
		return // the terminal looks itself
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := e.(type) {
	case BlobBegins:
		if p.drawing {
			p.terminal.add(e.Blob, barLabel(e.Blob))
			return
		}
	case BlobEnds:
		if p.terminal != nil {
			p.terminal.finish(e.Blob, e.Outcome.String())
		}
		return
	}
	if p.holding {
		p.held = append(p.held, text(e))
		return
	}
	_, _ = fmt.Fprintln(p.writer, text(e))
}

// barLabel names a blob in so few columns that bars begin in the same one.
func barLabel(b *Blob) string {
	label := fmt.Sprintf("Copying %s %s", b.kind(), b.info.Digest.Encoded())
	return label[:min(len(label), len("Copying blob 0123456789ab"))]
}

func (p *people) release() {
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

func (p *people) handOver(alone bool) io.Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.holding = nil, false
	if !alone {
		p.enter()
	}
	return p.writer
}

// enter enters the caller's terminal, if there is one. mu is held.
func (p *people) enter() {
	if s := screenOf(p.report); s != nil {
		p.enterScreen(s)
	}
}

func (p *people) enterScreen(s screen) {
	p.terminal, p.drawing = enter(s), true
	p.writer = p.terminal
}

func (p *people) end() {
	p.mu.Lock()
	t, entered := p.terminal, p.drawing
	p.drawing, p.writer = false, p.report
	p.mu.Unlock()
	if entered {
		t.leave()
	}
}
