package progress

import (
	"context"
	"sync"
	"time"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A channel is that of a caller who wants upstream's events. Its methods are safe for concurrent
// use. That of a nil *channel does nothing.
type channel struct {
	events   chan types.ProgressProperties
	interval time.Duration
	clock    clock.Clock

	mu    sync.Mutex      // guards blobs
	blobs map[*Blob]*sent // in flight
}

// sent is what was sent about a blob.
type sent struct {
	mu        sync.Mutex // guards what follows, and keeps the events in their order
	announced bool
	offset    uint64
	last      time.Time
}

func newChannel(events chan types.ProgressProperties, interval time.Duration, c clock.Clock) *channel {
	return &channel{events: events, interval: interval, clock: c, blobs: map[*Blob]*sent{}}
}

func (c *channel) take(e Event) {
	if c == nil {
		return
	}
	switch e := e.(type) {
	case BlobBegins:
		c.mu.Lock()
		c.blobs[e.Blob] = &sent{last: c.clock.Now()}
		c.mu.Unlock()
	case BlobAdvances:
		if s := c.sent(e.Blob); s != nil {
			c.advance(e.Blob, s)
		}
	case BlobEnds:
		if s := c.sent(e.Blob); s != nil {
			c.end(e.Blob, s, e.Outcome)
		}
	}
}

// sent returns what was sent about a blob in flight, nil about another one.
func (c *channel) sent(b *Blob) *sent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blobs[b]
}

func (c *channel) advance(b *Blob, s *sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.announce(b, s)
	if uint64(b.reached.Load()) <= s.offset || clock.Since(c.clock, s.last) < c.interval {
		return
	}
	c.offset(b, s, types.ProgressEventRead)
	s.last = c.clock.Now()
}

func (c *channel) end(b *Blob, s *sent, o Outcome) {
	c.mu.Lock()
	delete(c.blobs, b)
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o {
	case Reused:
		c.send(b.ctx, types.ProgressProperties{Event: types.ProgressEventSkipped, Artifact: b.info})
	case Copied:
		c.announce(b, s)
		c.offset(b, s, types.ProgressEventDone)
	}
}

// announce sends the first event of a blob that is copied. The mu of s is held.
func (c *channel) announce(b *Blob, s *sent) {
	if !s.announced {
		s.announced = true
		c.send(b.ctx, types.ProgressProperties{Event: types.ProgressEventNewArtifact, Artifact: b.info})
	}
}

// offset sends an event about how far a blob has come. The mu of s is held.
func (c *channel) offset(b *Blob, s *sent, kind types.ProgressEvent) {
	reached := uint64(b.reached.Load())
	c.send(b.ctx, types.ProgressProperties{
		Event: kind, Artifact: b.info, Offset: reached, OffsetUpdate: reached - s.offset,
	})
	s.offset = reached
}

// send sends an event unless ctx ends first: the reader may have gone with whoever cancelled.
func (c *channel) send(ctx context.Context, e types.ProgressProperties) {
	select {
	case c.events <- e:
	case <-ctx.Done():
	}
}
