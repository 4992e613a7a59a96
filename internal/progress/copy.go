package progress

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Options say who wants to know how far a copy has come. The zero value is nobody.
type Options struct {
	Writer   io.Writer                     // gets lines, and bars if it is a terminal
	Events   chan types.ProgressProperties // gets events about blobs, if Interval is positive
	Interval time.Duration                 // between two events about one blob that was read further
	Overview *Overview                     // counts this copy with others
	Clock    clock.Clock                   // by which Interval passes; nil for the machine's
}

// A Copy takes what one copy tells. Its methods are safe for concurrent use.
type Copy struct {
	people   *people
	channel  *channel  // nil if nobody listens
	overview *Overview // may be nil
	upstream *follower // tells overview
}

// New returns the Copy that tells whom o names. The lines for people are held until Release or
// HandOver.
func New(o Options) *Copy {
	c := &Copy{people: newPeople(o.Writer), overview: o.Overview, upstream: newFollower(o.Overview.take)}
	if o.Events != nil && o.Interval > 0 {
		c.channel = newChannel(o.Events, o.Interval, clock.Or(o.Clock))
	}
	return c
}

// Tell takes an event.
func (c *Copy) Tell(e Event) {
	c.people.take(e)
	c.channel.take(e)
	c.overview.take(e)
}

// Line tells a Line.
func (c *Copy) Line(format string, args ...any) { c.Tell(Line{fmt.Sprintf(format, args...)}) }

// Blob tells that a blob begins, and returns what is to be told how it goes on: Blob.End comes
// last. Events about it are sent until ctx ends.
func (c *Copy) Blob(ctx context.Context, b endpoint.Blob) *Blob {
	blob := newBlob(ctx, b, c.Tell)
	c.Tell(BlobBegins{blob})
	return blob
}

// Release writes the lines that were held, and holds no more. If the caller's writer is a terminal,
// blobs are drawn on it from now on, until End.
func (c *Copy) Release() { c.people.release() }

// HandOver drops the lines that were held, and holds no more: upstream has lines of its own for
// them. What it returns takes the lines of upstream's copy, which draws bars of its own on the
// caller's terminal, but not if other copies run besides: on what they share it writes lines, until
// End.
func (c *Copy) HandOver(alone bool) io.Writer { return c.people.handOver(alone) }

// FollowInterval is the time that there should be between two events for Watch about one blob that
// was read further. It is 0 if nobody wants them.
func (c *Copy) FollowInterval() time.Duration {
	if c.overview == nil {
		return 0
	}
	return frameInterval
}

// End ends what Release and HandOver have begun. Everything is on the caller's terminal then, with
// the cursor below it.
func (c *Copy) End() { c.people.end() }
