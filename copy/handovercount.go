package copy

import (
	"cmp"
	"context"
	"time"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A blobCount is what upstream's copy moved, by its events.
type blobCount struct {
	copied, reused map[digest.Digest]bool
	bytes          int64 // read from the source
}

// countBlobs counts what a copy with these options moves, until stop is called, which returns the count. The events go on to the caller, if
// it wants some, and to p; upstream waits for a reader of its channel, whatever becomes of ctx.
func countBlobs(ctx context.Context, options *upstream.Options, p *progress.Copy) (stop func() blobCount) {
	caller := options.Progress
	if options.ProgressInterval <= 0 {
		caller = nil
	}
	if caller == nil {
		options.ProgressInterval = cmp.Or(p.FollowInterval(), time.Hour) // maybe nobody wants to know how far a blob has come
	}
	events, counted := make(chan types.ProgressProperties), make(chan blobCount)
	options.Progress = events
	go func() {
		c := blobCount{copied: map[digest.Digest]bool{}, reused: map[digest.Digest]bool{}}
		for e := range events {
			c.count(e)
			p.Follow(e)
			if caller != nil {
				select {
				case caller <- e:
				case <-ctx.Done():
				}
			}
		}
		counted <- c
	}()
	return func() blobCount {
		close(events)
		return <-counted
	}
}

func (c *blobCount) count(e types.ProgressProperties) {
	moved := e.Event == types.ProgressEventDone && (e.Offset > 0 || e.Artifact.Size == 0)
	switch d := e.Artifact.Digest; {
	case moved:
		c.copied[d] = true
		c.bytes = plan.AddSize(c.bytes, int64(e.Offset)) //nolint:gosec // what was read fits
		delete(c.reused, d)
	case e.Event == types.ProgressEventDone || e.Event == types.ProgressEventSkipped:
		if !c.copied[d] {
			c.reused[d] = true
		}
	}
}

// writtenManifests is how many manifests upstream has written for a list that was l and is written now, the list included.
func writtenManifests(l *ListPlan, written []manifest.Instance) int {
	left := map[digest.Digest]bool{}
	for _, ip := range l.Instances {
		left[ip.Digest] = left[ip.Digest] || ip.Decision != Copy
	}
	distinct := map[digest.Digest]bool{}
	for _, instance := range written {
		if !left[instance.Digest] {
			distinct[instance.Digest] = true
		}
	}
	return len(distinct) + 1
}
