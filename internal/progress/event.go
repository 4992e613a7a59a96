package progress

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// An Event is something that a copy tells: a Line, an ImageBegins, a BlobBegins, a BlobAdvances or
// a BlobEnds.
type Event interface{ isEvent() }

// A Line is for people only.
type Line struct{ Text string }

// ImageBegins tells that an image of a list is copied from now on.
type ImageBegins struct {
	Digest       digest.Digest
	Position, Of int // among the images of the list that are copied, from 1
}

// BlobBegins tells that a blob is looked for at the destination, and copied if it is not there.
type BlobBegins struct{ Blob *Blob }

// BlobAdvances tells that more of a blob was read.
type BlobAdvances struct{ Blob *Blob }

// BlobEnds tells what has become of a blob. Whatever is told of it afterwards does not count.
type BlobEnds struct {
	Blob    *Blob
	Outcome Outcome
}

func (Line) isEvent()         {}
func (ImageBegins) isEvent()  {}
func (BlobBegins) isEvent()   {}
func (BlobAdvances) isEvent() {}
func (BlobEnds) isEvent()     {}

// An Outcome is what has become of a blob.
type Outcome int

// The outcomes.
const (
	Failed Outcome = iota
	Copied
	Reused // it was at the destination already
)

// String returns what people are told of a blob that has ended so, "" if nothing.
func (o Outcome) String() string {
	switch o {
	case Copied:
		return "done"
	case Reused:
		return "skipped: already exists"
	}
	return ""
}

// text is what people get to read of an event where nothing is drawn, "" for nothing.
func text(e Event) string {
	switch e := e.(type) {
	case Line:
		return e.Text
	case ImageBegins:
		return fmt.Sprintf("Copying image %s (%d/%d)", e.Digest, e.Position, e.Of)
	case BlobBegins:
		return fmt.Sprintf("Copying %s %s", e.Blob.kind(), e.Blob.info.Digest)
	}
	return ""
}

// A Blob is a blob that is copied. Its methods are safe for concurrent use: the reader of an
// attempt that failed can still be at work when the next one starts.
type Blob struct {
	tell   func(Event)
	ctx    context.Context // of the copy
	info   types.BlobInfo
	config bool

	offset  atomic.Int64 // read by the newest reader
	reached atomic.Int64 // the largest offset, within the size: a retry does not take it back

	counted bool // it has ended for the overview; guarded by the mu of that
}

func newBlob(ctx context.Context, b endpoint.Blob, tell func(Event)) *Blob {
	return &Blob{
		tell: tell, ctx: ctx, config: b.Config,
		info: types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType},
	}
}

func (b *Blob) kind() string {
	if b.config {
		return "config"
	}
	return "blob"
}

// Restart says that the next bytes are the first ones of the blob. b may be nil.
func (b *Blob) Restart() {
	if b != nil {
		b.offset.Store(0)
	}
}

// Advance says that n more bytes were read. b may be nil.
func (b *Blob) Advance(n int) {
	if b == nil || n == 0 {
		return
	}
	b.reach(b.offset.Add(int64(n)))
	b.tell(BlobAdvances{b})
}

func (b *Blob) reach(offset int64) {
	if b.info.Size >= 0 {
		offset = min(offset, b.info.Size)
	}
	for {
		before := b.reached.Load()
		if offset <= before || b.reached.CompareAndSwap(before, offset) {
			return
		}
	}
}

// End says what has become of the blob.
func (b *Blob) End(o Outcome) { b.tell(BlobEnds{b, o}) }
