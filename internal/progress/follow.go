package progress

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A follower turns upstream's events about the blobs of one copy into ours. Its methods are safe
// for concurrent use.
type follower struct {
	tell func(Event)

	mu    sync.Mutex // guards blobs
	blobs map[digest.Digest]*Blob
}

func newFollower(tell func(Event)) *follower {
	return &follower{tell: tell, blobs: map[digest.Digest]*Blob{}}
}

func (f *follower) follow(e types.ProgressProperties) {
	switch b := f.blob(e); {
	case b == nil: // it was never announced
	case e.Event == types.ProgressEventSkipped:
		b.End(Reused)
	case e.Event == types.ProgressEventDone:
		b.Advance(int(e.OffsetUpdate)) //nolint:gosec // what was read at once fits
		b.End(Copied)
	default:
		b.Advance(int(e.OffsetUpdate)) //nolint:gosec // as above
		f.tell(BlobAdvances{b})        // also if nothing was read
	}
}

// blob returns the blob that e is about, nil if there is none.
func (f *follower) blob(e types.ProgressProperties) *Blob {
	d := e.Artifact.Digest
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.blobs[d]
	switch e.Event {
	case types.ProgressEventSkipped:
		return f.newBlob(e)
	case types.ProgressEventNewArtifact:
		if b == nil {
			b = f.newBlob(e)
			f.blobs[d] = b
		}
	case types.ProgressEventDone:
		delete(f.blobs, d)
	}
	return b
}

func (f *follower) newBlob(e types.ProgressProperties) *Blob {
	return newBlob(context.Background(), endpoint.Blob{Digest: e.Artifact.Digest, Size: e.Artifact.Size}, f.tell)
}
