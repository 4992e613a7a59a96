package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// overviewInterval is the time between two lines of an Overview that is not drawn: short runs write
// none.
const overviewInterval = 10 * time.Second

// OverviewOptions say what an Overview shows, and where. The zero value shows nothing.
type OverviewOptions struct {
	// Images is how many images will be copied.
	Images int
	// Writer gets the picture if it is a terminal (an *os.File; not on Windows, and not if $TERM is
	// "dumb"), and otherwise Totals in a line every ten seconds. Its errors are ignored.
	Writer io.Writer
	// Log, if not nil, is called every ten seconds, and Writer gets nothing.
	Log func(Totals)
	// Clock tells how long what is shown has taken; nil for the machine's.
	Clock clock.Clock
}

// An Overview shows how far several copies have come, all together: those whose Options name it. On
// a terminal it is a picture of a line of Totals and a bar for each blob that is being copied.
//
// Its methods are safe for concurrent use. Those of a nil *Overview do nothing.
type Overview struct {
	options  OverviewOptions
	terminal *terminal // where it is drawn; nil if nowhere
	quit     chan struct{}
	close    sync.Once // of quit
	ended    sync.WaitGroup

	mu    sync.Mutex // guards tally
	tally tally
}

// NewOverview begins to show an Overview. The caller must Close it.
func NewOverview(options OverviewOptions) *Overview {
	if options.Writer == nil {
		options.Writer = io.Discard
	}
	options.Clock = clock.Or(options.Clock)
	o := &Overview{
		options: options, quit: make(chan struct{}), tally: newTally(options.Images, options.Clock.Now()),
	}
	if s := screenOf(options.Writer); s != nil && options.Log == nil {
		o.draw(s)
	} else {
		o.ended.Go(o.report)
	}
	return o
}

func (o *Overview) draw(s screen) {
	o.terminal = enter(s)
	o.terminal.addHead(o)
}

// ImageDone counts an image as done. A copy does not do so itself: the caller may try again what
// has failed.
func (o *Overview) ImageDone() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tally.imagesDone++
}

// Print shows a line above the picture. Where nothing is drawn it does nothing.
func (o *Overview) Print(line string) {
	if o == nil || o.terminal == nil {
		return
	}
	_, _ = fmt.Fprintln(o.terminal, line) // never fails
}

// Close ends the show, and takes the picture away. The copies must have ended. It may be called
// more than once.
func (o *Overview) Close() {
	if o == nil {
		return
	}
	o.close.Do(func() {
		close(o.quit)
		o.ended.Wait()
		if o.terminal != nil {
			o.terminal.removeHead(o)
			o.terminal.leave()
		}
	})
}

// take counts an event.
func (o *Overview) take(e Event) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch e := e.(type) {
	case ImageBegins:
		o.tally.image(e.Position, e.Of)
	case BlobAdvances:
		if o.tally.begin(e.Blob) && o.terminal != nil {
			o.terminal.add(e.Blob, "  "+prose.Short(e.Blob.info.Digest)+" ")
		}
	case BlobEnds:
		o.tally.end(e.Blob, e.Outcome)
		if o.terminal != nil {
			o.terminal.finish(e.Blob, "")
		}
	}
}

// Totals returns what was counted so far.
func (o *Overview) Totals() Totals {
	if o == nil {
		return Totals{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tally.totals(o.options.Clock.Now())
}

// report writes or logs totals now and then.
func (o *Overview) report() {
	ticker := time.NewTicker(overviewInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if t := o.Totals(); o.options.Log != nil {
				o.options.Log(t)
			} else {
				_, _ = fmt.Fprintln(o.options.Writer, t)
			}
		case <-o.quit:
			return
		}
	}
}
