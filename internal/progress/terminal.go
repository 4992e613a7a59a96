package progress

import (
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	// frameInterval is the time between two pictures.
	frameInterval = 100 * time.Millisecond
	// terminalPatience is how long a copy that has ended waits for a terminal that takes nothing:
	// somebody may have stopped it.
	terminalPatience = time.Second
	// maxPendingLines is how many lines are held for such a terminal. It does not get those that
	// come then.
	maxPendingLines = 10_000

	// The size of a terminal that does not tell.
	defaultColumns = 80
	defaultRows    = 24
)

// A screen is the terminal that a caller has given. Screens are compared: those of the same
// terminal are equal.
type screen interface {
	io.Writer
	size() (columns, rows int, err error)
}

// screenOf returns the terminal that w is, or nil if it is none, or none on which the cursor moves
// as is wanted here.
func screenOf(w io.Writer) screen {
	f, ok := w.(*os.File)
	if !ok || runtime.GOOS == "windows" || os.Getenv("TERM") == "dumb" {
		return nil
	}
	is := false
	if err := control(f, func(fd int) { is = term.IsTerminal(fd) }); err != nil || !is {
		return nil
	}
	return tty{f}
}

type tty struct{ *os.File }

func (t tty) size() (columns, rows int, err error) {
	if err := control(t.File, func(fd int) { columns, rows, err = term.GetSize(fd) }); err != nil {
		return 0, 0, err
	}
	return columns, rows, err
}

// control calls use with the descriptor of f. Unlike File.Fd, it leaves the descriptor as it is.
func control(f *os.File, use func(fd int)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { use(int(fd)) })
}

// A terminal shows the blobs in flight of all copies that have entered it, above them the totals of
// overviews, and above these the lines that they write, which scroll away. One goroutine writes to
// the screen. Copies do not wait for it, and do not learn of its errors: a terminal that was closed
// or stopped holds nobody up. The cursor is always at the beginning of the row below, and visible,
// so that there is nothing to restore, however the program ends. The methods may run concurrently.
type terminal struct {
	screen screen
	left   chan struct{} // of capacity 1: somebody is in leaving

	mu      sync.Mutex // guards lines, heads and blobs
	lines   []string   // to be written
	heads   []*Overview
	blobs   []drawn
	picture []string        // that is on the screen; of the goroutine that writes
	copies  int             // that have entered and not left; guarded by terminals
	leaving []chan struct{} // to be closed when everything is on the screen; guarded by terminals
}

// drawn is a blob with the beginning of its line.
type drawn struct {
	blob  *Blob
	label string
}

// terminals are those that copies have entered: a terminal is one for the whole process.
var terminals = struct {
	sync.Mutex
	of map[screen]*terminal
}{of: map[screen]*terminal{}}

// InUse reports whether something is drawn on the terminal that w is. Tests ask: what is drawn has
// to be gone when a copy returns.
func InUse(w io.Writer) bool {
	s := screenOf(w)
	return s != nil && inUse(s)
}

func inUse(s screen) bool {
	terminals.Lock()
	defer terminals.Unlock()
	return terminals.of[s] != nil
}

// enter returns the terminal with that screen. The copy must leave it.
func enter(s screen) *terminal {
	terminals.Lock()
	defer terminals.Unlock()
	t := terminals.of[s]
	if t == nil {
		t = &terminal{screen: s, left: make(chan struct{}, 1)}
		terminals.of[s] = t
		go t.run()
	}
	t.copies++
	return t
}

// leave ends a copy's part. What it has written is on the screen then, unless that takes nothing.
func (t *terminal) leave() {
	shown := make(chan struct{})
	terminals.Lock()
	t.copies--
	t.leaving = append(t.leaving, shown)
	terminals.Unlock()
	select {
	case t.left <- struct{}{}:
	default: // it knows
	}
	select {
	case <-shown:
	case <-time.After(terminalPatience):
	}
}

// run draws until all copies have left. A screen that takes nothing keeps it, but there is only one
// for each screen.
func (t *terminal) run() {
	ticker := time.NewTicker(frameInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-t.left:
		}
		leaving := t.takeLeaving()
		t.draw()
		deserted := t.deserted() // before they know: when the last one has left, nothing follows
		for _, shown := range leaving {
			close(shown)
		}
		if deserted {
			return
		}
	}
}

func (t *terminal) takeLeaving() []chan struct{} {
	terminals.Lock()
	defer terminals.Unlock()
	leaving := t.leaving
	t.leaving = nil
	return leaving
}

// deserted reports whether everybody has left, and everything is drawn. The next copy gets another
// terminal then.
func (t *terminal) deserted() bool {
	terminals.Lock()
	defer terminals.Unlock()
	if t.copies > 0 || len(t.leaving) > 0 {
		return false
	}
	delete(terminals.of, t.screen)
	return true
}

// draw writes the lines that have come, and the picture as it is now.
func (t *terminal) draw() {
	columns, rows, err := t.screen.size()
	if err != nil || columns <= 0 || rows <= 0 {
		columns, rows = defaultColumns, defaultRows
	}
	lines, heads, bars := t.take()
	next := picture(heads, bars, columns, rows)
	if len(lines) == 0 && slices.Equal(next, t.picture) {
		return
	}
	_, _ = io.WriteString(t.screen, replacement(t.picture, slices.Concat(lines, next), columns, rows)) // a terminal that is gone shows nothing
	t.picture = next
}

// take returns the lines that are to be written, which are gone then, and what there is to be
// drawn.
func (t *terminal) take() (lines, heads []string, bars []bar) {
	t.mu.Lock()
	lines, t.lines = t.lines, nil
	overviews := slices.Clone(t.heads)
	for _, d := range t.blobs {
		bars = append(bars, bar{label: d.label, offset: d.blob.offset.Load(), size: d.blob.info.Size})
	}
	t.mu.Unlock()
	for _, o := range overviews { // who may be waiting for t.mu
		heads = append(heads, o.Totals().String())
	}
	return lines, heads, bars
}

// Write takes whole lines. It never fails.
func (t *terminal) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(text)) {
		t.line(strings.TrimSuffix(line, "\n"))
	}
	return len(text), nil
}

// line takes a line. mu is held.
func (t *terminal) line(line string) {
	if len(t.lines) < maxPendingLines {
		t.lines = append(t.lines, line)
	}
}

// addHead shows the totals of an overview above the bars, until removeHead.
func (t *terminal) addHead(o *Overview) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heads = append(t.heads, o)
}

func (t *terminal) removeHead(o *Overview) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heads = slices.DeleteFunc(t.heads, func(other *Overview) bool { return other == o })
}

// add shows a blob, in a line that begins with label, until finish.
func (t *terminal) add(b *Blob, label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blobs = append(t.blobs, drawn{b, label})
}

// finish replaces a blob by a line that says what has become of it; by nothing if outcome is "".
func (t *terminal) finish(b *Blob, outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.blobs, func(d drawn) bool { return d.blob == b })
	if i < 0 {
		return
	}
	if outcome != "" {
		t.line(t.blobs[i].label + " " + outcome)
	}
	t.blobs = slices.Delete(t.blobs, i, i+1)
}
