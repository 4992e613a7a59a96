package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Totals are what an Overview has counted. Bytes are those of configs and layers.
type Totals struct {
	Images, ImagesDone        int
	Instances, InstancesKnown int // begun, and to be copied of the lists that were begun
	Blobs, BlobsThere         int // done, and those of them that were at the destination already
	Bytes, BytesKnown         int64
	BytesPerSecond            int64         // over the last five seconds or so
	Elapsed                   time.Duration // in whole seconds
	Left                      time.Duration // that it will take at least, in whole seconds; 0 if unknown
}

// String is everything in one line for people.
func (t Totals) String() string {
	parts := []string{fmt.Sprintf("images %d/%d", t.ImagesDone, t.Images)}
	if t.InstancesKnown > 0 {
		parts = append(parts, fmt.Sprintf("instances %d/%d", t.Instances, t.InstancesKnown))
	}
	blobs := fmt.Sprintf("blobs %d", t.Blobs)
	if t.BlobsThere > 0 {
		blobs += fmt.Sprintf(" (%d there already)", t.BlobsThere)
	}
	parts = append(parts, blobs, prose.Bytes(t.Bytes)+" of "+prose.Bytes(t.BytesKnown),
		prose.Bytes(t.BytesPerSecond)+"/s", t.Elapsed.String())
	if t.Left > 0 {
		parts = append(parts, t.Left.String()+" left")
	}
	return strings.Join(parts, "  ")
}

// A tally counts what copies tell.
type tally struct {
	started            time.Time
	images, imagesDone int
	instances          int
	instancesKnown     int
	blobs, blobsThere  int
	inFlight           map[*Blob]bool // of which something was read
	bytes              int64          // of blobs that have ended
	bytesKnown         int64          // of these, and the sizes of those in flight
	marks              []mark         // of the last few seconds, for the rate
}

type mark struct {
	at    time.Time
	bytes int64
}

// rateWindow is the time over which the rate is taken.
const rateWindow = 5 * time.Second

func newTally(images int, now time.Time) tally {
	return tally{started: now, images: images, inFlight: map[*Blob]bool{}, marks: []mark{{now, 0}}}
}

// image counts an image of a list. All are known when the first one begins.
func (t *tally) image(position, of int) {
	t.instances++
	if position == 1 {
		t.instancesKnown += of
	}
}

// begin counts a blob of which something was read, and reports whether it is the first time.
func (t *tally) begin(b *Blob) bool {
	if b.counted || t.inFlight[b] {
		return false
	}
	t.inFlight[b] = true
	t.bytesKnown += max(b.info.Size, 0)
	return true
}

// end counts a blob that has ended. It had the size that was read of it.
func (t *tally) end(b *Blob, o Outcome) {
	b.counted = true
	if t.inFlight[b] {
		delete(t.inFlight, b)
		moved := b.reached.Load()
		t.bytes += moved
		t.bytesKnown += moved - max(b.info.Size, 0)
	}
	switch o {
	case Copied:
		t.blobs++
	case Reused:
		t.blobs++
		t.blobsThere++
	}
}

// totals counts everything as it is now. The rate is the one since the oldest call within
// rateWindow, or the last one before.
func (t *tally) totals(now time.Time) Totals {
	bytes := t.bytes
	for b := range t.inFlight {
		bytes += b.reached.Load()
	}
	t.marks = append(t.marks, mark{now, bytes})
	for len(t.marks) > 2 && now.Sub(t.marks[1].at) >= rateWindow {
		t.marks = t.marks[1:]
	}
	rate := t.rate(now, bytes)
	return Totals{
		Images: t.images, ImagesDone: t.imagesDone, Instances: t.instances, InstancesKnown: t.instancesKnown,
		Blobs: t.blobs, BlobsThere: t.blobsThere, Bytes: bytes, BytesKnown: t.bytesKnown,
		BytesPerSecond: int64(rate), Elapsed: now.Sub(t.started).Truncate(time.Second),
		Left: t.left(now, bytes, rate).Truncate(time.Second),
	}
}

// rate is in bytes per second.
func (t *tally) rate(now time.Time, bytes int64) float64 {
	first := t.marks[0]
	if elapsed := now.Sub(first.at).Seconds(); elapsed > 0 {
		return float64(bytes-first.bytes) / elapsed
	}
	return 0
}

// left is how long it will take at least, as far as that can be told: for the bytes that are known
// of, and for images if they go on as they did.
func (t *tally) left(now time.Time, bytes int64, rate float64) time.Duration {
	var left time.Duration
	if rate > 0 {
		left = time.Duration(float64(t.bytesKnown-bytes) / rate * float64(time.Second))
	}
	if t.imagesDone > 0 {
		left = max(left, now.Sub(t.started)/time.Duration(t.imagesDone)*time.Duration(t.images-t.imagesDone))
	}
	return left
}
