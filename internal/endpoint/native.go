package endpoint

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

// A Native is a reference of a transport that brings its own ends, in place of those of
// internal/endpoint/transport. Its NewImageDestination may fail: what is written to it is written
// through OpenDestination.
type Native interface {
	types.ImageReference

	OpenSource(ctx context.Context, sys *types.SystemContext) (SizedSource, error)
	OpenDestination(ctx context.Context, sys *types.SystemContext) (Destination, error)
}

// A SizedSource is a Source that also tells how large blobs are.
type SizedSource interface {
	Source

	// BlobSize returns the size of a blob in bytes, without reading it; -1 if it is not told. The
	// error wraps ErrNotFound if the blob is not there.
	BlobSize(ctx context.Context, b Blob) (int64, error)
}

// A Scattered source lacks blobs that other repositories of the destination's registry may have.
type Scattered interface {
	// Elsewhere returns a repository that may have b, with any tag or digest or none; nil if none
	// is known. It may be called concurrently.
	Elsewhere(b Blob) reference.Named
	// Lacks reports whether the source definitely has no b, and nobody else is known to: it was
	// missing where the source comes from. It may be called concurrently.
	Lacks(b Blob) bool
	// ReadElsewhere says how a blob of an image is read that Elsewhere has named the repository of.
	// It is called before anything is read, by those who share connections and limits with it;
	// otherwise the image's transport reads.
	ReadElsewhere(read ReadBlob)
}

// A ReadBlob reads a blob of an image.
type ReadBlob func(ctx context.Context, image types.ImageReference, b Blob) (io.ReadCloser, error)

// CloseBoth returns r, which closes the source that it was read from, too.
func CloseBoth(r io.ReadCloser, src io.Closer) io.ReadCloser { return &closeBoth{r, src} }

type closeBoth struct {
	io.ReadCloser
	src io.Closer
}

func (c *closeBoth) Close() error { return errors.Join(c.ReadCloser.Close(), c.src.Close()) }

// A Recorder is a Destination that keeps a record of what it was made of.
type Recorder interface {
	// Record says, before anything is written, what the source's reference names, and which lists
	// of the source are written with other digests although what is attached to them is copied.
	Record(source digest.Digest, changed []digest.Digest)
}

// A Changer is a Source whose lists have been changed by an earlier copy.
type Changer interface {
	// Changed returns the digests that such lists had before, if the source has what is attached to
	// them.
	Changed() []digest.Digest
}

// A FormMemory is a destination that remembers of its place that artifacts had to be stored as
// plain images there. The methods may run concurrently.
type FormMemory interface {
	// PlainOnly reports whether NotePlainOnly was called not long ago, through whichever end.
	PlainOnly() bool
	NotePlainOnly()
}
