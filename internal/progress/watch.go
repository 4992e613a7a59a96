package progress

import (
	"context"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
)

// A BlobCount is what upstream's copy moved, by its events.
type BlobCount struct {
	Copied, Reused map[digest.Digest]bool
	Bytes          int64 // read from the source
}

// Watch returns a channel for the events of upstream's copy, and stop, which is to be called when
// that has ended: it returns what was counted. The events count for the overview, and go on to
// caller, if that is not nil and ctx has not ended. Upstream waits for a reader of its channel,
// whatever becomes of ctx.
func (c *Copy) Watch(
	ctx context.Context, caller chan types.ProgressProperties,
) (events chan types.ProgressProperties, stop func() BlobCount) {
	events = make(chan types.ProgressProperties)
	counted := make(chan BlobCount)
	go func() {
		count := BlobCount{Copied: map[digest.Digest]bool{}, Reused: map[digest.Digest]bool{}}
		for e := range events {
			count.note(e)
			c.upstream.follow(e)
			if caller != nil {
				select {
				case caller <- e:
				case <-ctx.Done():
				}
			}
		}
		counted <- count
	}()
	return events, func() BlobCount {
		close(events)
		return <-counted
	}
}

func (c *BlobCount) note(e types.ProgressProperties) {
	moved := e.Event == types.ProgressEventDone && (e.Offset > 0 || e.Artifact.Size == 0)
	switch d := e.Artifact.Digest; {
	case moved:
		c.Copied[d] = true
		c.Bytes += int64(e.Offset) //nolint:gosec // what was read fits
		delete(c.Reused, d)
	case e.Event == types.ProgressEventDone || e.Event == types.ProgressEventSkipped:
		if !c.Copied[d] {
			c.Reused[d] = true
		}
	}
}
