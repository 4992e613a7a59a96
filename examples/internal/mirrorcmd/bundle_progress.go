package mirrorcmd

import (
	"context"
	"io"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// skipped tells an overview, which may be nil, that a blob is there already.
func skipped(o *copy.Overview, b endpoint.Blob) {
	o.Follow(types.ProgressProperties{Event: types.ProgressEventSkipped, Artifact: types.BlobInfo{Digest: b.Digest, Size: b.Size}})
}

// reading tells an overview how far r, the content of a blob, was read.
func reading(o *copy.Overview, r io.Reader, b endpoint.Blob) io.Reader {
	artifact := types.BlobInfo{Digest: b.Digest, Size: b.Size}
	o.Follow(types.ProgressProperties{Event: types.ProgressEventNewArtifact, Artifact: artifact})
	return &reportingReader{Reader: r, overview: o, artifact: artifact}
}

// opening tells an overview how far what open opens was read.
func opening(o *copy.Overview, open endpoint.Opener, b endpoint.Blob) endpoint.Opener {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{reading(o, r, b), r}, nil
	}
}

// A reportingReader tells an overview what is read of a blob.
type reportingReader struct {
	io.Reader
	overview *copy.Overview
	artifact types.BlobInfo
	done     bool
}

func (r *reportingReader) Read(buffer []byte) (int, error) {
	n, err := r.Reader.Read(buffer)
	event := types.ProgressProperties{Event: types.ProgressEventRead, Artifact: r.artifact, OffsetUpdate: uint64(n)}
	if err != nil && !r.done {
		r.done, event.Event = true, types.ProgressEventDone
	}
	r.overview.Follow(event)
	return n, err
}
