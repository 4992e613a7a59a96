package mirrorcmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/types"
	"golang.org/x/term"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

const (
	// frameInterval is the time between two pictures on a terminal.
	frameInterval = 100 * time.Millisecond
	// lineInterval is the time between two lines elsewhere: short runs print none.
	lineInterval = 10 * time.Second
)

// progress shows how far copies have come: on a terminal as a picture that is drawn again and again, elsewhere in a line now and then,
// with --log-format json as an entry of the log. The methods may run concurrently. Those of a nil *progress do nothing.
type progress struct {
	screen *screen // nil if stderr is no terminal
	json   bool
	w      io.Writer

	events chan types.ProgressProperties
	quit   chan struct{}
	once   sync.Once // closes quit
	ended  sync.WaitGroup

	mu    sync.Mutex // guards tally
	tally tally
}

// startProgress begins to show progress on the given number of images, until stop. It returns nil if that is not wanted.
func (e *environment) startProgress(o *output, images int) *progress {
	if o.quiet {
		return nil
	}
	p := &progress{
		json: o.logJSON, w: e.stderr, events: make(chan types.ProgressProperties), quit: make(chan struct{}),
		tally: newTally(images, time.Now()),
	}
	interval := lineInterval
	if f, ok := e.stderr.(*os.File); ok && !o.logJSON && !o.debug && term.IsTerminal(int(f.Fd())) {
		p.screen = &screen{w: f, size: func() (int, int, error) { return term.GetSize(int(f.Fd())) }}
		interval = frameInterval
	}
	p.ended.Go(p.listen)
	p.ended.Go(func() { p.show(interval) })
	return p
}

// attach makes a copy report to p.
func (p *progress) attach(o *copy.Options) {
	if p == nil {
		return
	}
	o.Progress, o.ProgressInterval, o.ReportWriter = p.events, frameInterval, p
}

// imageDone says that one more image is done, or has failed.
func (p *progress) imageDone() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.imagesDone++
}

// line shows a line above the picture. Elsewhere than on a terminal it is not written: the report says the same.
func (p *progress) line(text string) {
	if p == nil || p.screen == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen.print(text)
}

// send tells p what a copy would tell it through attach.
func (p *progress) send(event types.ProgressProperties) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.add(event)
}

// skipped says that a blob is there already.
func (p *progress) skipped(b endpoint.Blob) {
	p.send(types.ProgressProperties{Event: types.ProgressEventSkipped, Artifact: types.BlobInfo{Digest: b.Digest, Size: b.Size}})
}

// reading says how far r, the content of a blob, was read.
func (p *progress) reading(r io.Reader, b endpoint.Blob) io.Reader {
	if p == nil {
		return r
	}
	artifact := types.BlobInfo{Digest: b.Digest, Size: b.Size}
	p.send(types.ProgressProperties{Event: types.ProgressEventNewArtifact, Artifact: artifact})
	return &reportingReader{Reader: r, p: p, artifact: artifact}
}

// opening says how far what open opens was read.
func (p *progress) opening(open endpoint.Opener, b endpoint.Blob) endpoint.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{p.reading(r, b), r}, nil
	}
}

// A reportingReader tells p what is read of a blob.
type reportingReader struct {
	io.Reader
	p        *progress
	artifact types.BlobInfo
	done     bool
}

func (r *reportingReader) Read(buffer []byte) (int, error) {
	n, err := r.Reader.Read(buffer)
	event := types.ProgressProperties{Event: types.ProgressEventRead, Artifact: r.artifact, OffsetUpdate: uint64(n)}
	if err != nil && !r.done {
		r.done, event.Event = true, types.ProgressEventDone
	}
	r.p.send(event)
	return n, err
}

// stop ends the show and clears the picture. Copies that were attached must have ended. It may be called more than once.
func (p *progress) stop() {
	if p == nil {
		return
	}
	p.once.Do(func() {
		close(p.quit)
		p.ended.Wait()
		if p.screen != nil {
			p.screen.draw(nil)
		}
	})
}

func (p *progress) listen() {
	for {
		select {
		case event := <-p.events:
			p.send(event)
		case <-p.quit:
			return
		}
	}
}

func (p *progress) show(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			p.frame(now)
		case <-p.quit:
			return
		}
	}
}

// frame shows how things stand now.
func (p *progress) frame(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.tick(now)
	switch {
	case p.screen != nil:
		p.screen.draw(p.tally.picture(now))
	case p.json:
		logrus.WithFields(p.tally.fields(now)).Info("progress")
	default:
		fmt.Fprintln(p.w, p.tally.line(now))
	}
}

// imageLine is what the library writes when it begins with an instance of a list.
var imageLine = regexp.MustCompile(`^Copying image \S+ \((\d+)/(\d+)\)`)

// Write takes the lines that the library writes for people; those that begin an instance are counted.
func (p *progress) Write(lines []byte) (int, error) {
	for line := range strings.Lines(string(lines)) {
		m := imageLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		position, _ := strconv.Atoi(m[1]) // digits, as the expression says
		of, _ := strconv.Atoi(m[2])
		p.mu.Lock()
		p.tally.instances++
		if position == 1 {
			p.tally.instancesKnown += of
		}
		p.mu.Unlock()
	}
	return len(lines), nil
}

// A tally counts what copies report. Bytes are those of configs and layers.
type tally struct {
	started            time.Time
	images, imagesDone int
	instances          int // begun
	instancesKnown     int // of the images that were begun
	blobs, blobsThere  int // done; those of them that were there already
	bytes, bytesKnown  int64
	inFlight           []blobTally // in the order in which they began

	marks []mark // of the last few seconds, for the rate
}

type blobTally struct {
	digest      digest.Digest
	size, moved int64
}

type mark struct {
	at    time.Time
	bytes int64
}

// rateWindow is the time over which the rate is taken.
const rateWindow = 5 * time.Second

func newTally(images int, now time.Time) tally {
	return tally{started: now, images: images, marks: []mark{{now, 0}}}
}

func (t *tally) add(e types.ProgressProperties) {
	i := slices.IndexFunc(t.inFlight, func(b blobTally) bool { return b.digest == e.Artifact.Digest })
	switch e.Event {
	case types.ProgressEventNewArtifact:
		if i < 0 {
			t.inFlight = append(t.inFlight, blobTally{digest: e.Artifact.Digest, size: max(e.Artifact.Size, 0)})
			t.bytesKnown += max(e.Artifact.Size, 0)
		}
	case types.ProgressEventSkipped:
		t.blobs++
		t.blobsThere++
	case types.ProgressEventRead, types.ProgressEventDone:
		if i < 0 {
			return
		}
		b := &t.inFlight[i]
		b.moved += int64(e.OffsetUpdate)
		t.bytes += int64(e.OffsetUpdate)
		if e.Event == types.ProgressEventDone {
			t.blobs++
			t.inFlight = slices.Delete(t.inFlight, i, i+1)
		}
	}
}

// tick remembers how far things have come.
func (t *tally) tick(now time.Time) {
	t.marks = append(t.marks, mark{now, t.bytes})
	for len(t.marks) > 2 && now.Sub(t.marks[1].at) >= rateWindow {
		t.marks = t.marks[1:]
	}
}

// rate is in bytes per second.
func (t *tally) rate(now time.Time) float64 {
	first := t.marks[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		return float64(t.bytes-first.bytes) / elapsed
	}
	return 0
}

// left is how long it will take at least, as far as that can be told: for the bytes that are known of, and for images if they
// go on as they did. 0 is unknown.
func (t *tally) left(now time.Time) time.Duration {
	var left time.Duration
	if rate := t.rate(now); rate > 0 {
		left = time.Duration(float64(t.bytesKnown-t.bytes) / rate * float64(time.Second))
	}
	if t.imagesDone > 0 {
		left = max(left, now.Sub(t.started)/time.Duration(t.imagesDone)*time.Duration(t.images-t.imagesDone))
	}
	return left
}

// line is everything in one line.
func (t *tally) line(now time.Time) string {
	parts := []string{fmt.Sprintf("images %d/%d", t.imagesDone, t.images)}
	if t.instancesKnown > 0 {
		parts = append(parts, fmt.Sprintf("instances %d/%d", t.instances, t.instancesKnown))
	}
	blobs := fmt.Sprintf("blobs %d", t.blobs)
	if t.blobsThere > 0 {
		blobs += fmt.Sprintf(" (%d there already)", t.blobsThere)
	}
	parts = append(parts, blobs, formatBytes(t.bytes)+" of "+formatBytes(t.bytesKnown), formatBytes(int64(t.rate(now)))+"/s",
		formatTime(now.Sub(t.started).Truncate(time.Second)))
	if left := t.left(now); left >= time.Second {
		parts = append(parts, formatTime(left.Truncate(time.Second))+" left")
	}
	return strings.Join(parts, "  ")
}

// fields is everything for a log.
func (t *tally) fields(now time.Time) logrus.Fields {
	return logrus.Fields{
		"images": t.images, "imagesDone": t.imagesDone, "instances": t.instances, "blobs": t.blobs, "blobsThere": t.blobsThere,
		"bytes": t.bytes, "bytesKnown": t.bytesKnown, "bytesPerSecond": int64(t.rate(now)), "elapsedSeconds": int64(now.Sub(t.started).Seconds()),
	}
}

// picture is the lines to be drawn, the most important one first.
func (t *tally) picture(now time.Time) []string {
	lines := []string{t.line(now)}
	for _, b := range t.inFlight {
		lines = append(lines, fmt.Sprintf("  %s  %s  %s of %s", shortDigest(b.digest), bar(b.moved, b.size), formatBytes(b.moved), formatBytes(b.size)))
	}
	return lines
}

// barWidth is the number of columns in a bar.
const barWidth = 24

func bar(done, of int64) string {
	filled := 0
	if of > 0 {
		filled = int(min(done, of) * barWidth / of)
	}
	return "[" + strings.Repeat("=", filled) + strings.Repeat(" ", barWidth-filled) + "]"
}
