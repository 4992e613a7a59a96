package transforming

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/bigfile"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A spool is a temporary file for content whose digest is known when all of it is there.
type spool struct{ file *bigfile.File }

// newSpool makes a spool in the directory for big files of sys, which may be nil.
func newSpool(sys *types.SystemContext) (*spool, error) {
	file, err := bigfile.Create(sys, "sparsecopy-layer-")
	if err != nil {
		return nil, err
	}
	return &spool{file}, nil
}

// fill keeps all of stream, and returns what it is as a blob.
func (s *spool) fill(stream io.Reader) (endpoint.Blob, error) {
	digester := digest.Canonical.Digester()
	n, err := io.Copy(io.MultiWriter(s.file, digester.Hash()), stream)
	return endpoint.Blob{Digest: digester.Digest(), Size: n}, err
}

// open returns an Opener of what is kept, which is b.
func (s *spool) open(b endpoint.Blob) endpoint.Opener {
	as := func(err error) error { return err }
	return func(context.Context) (io.ReadCloser, error) {
		return endpoint.Verified(io.NopCloser(io.NewSectionReader(s.file, 0, b.Size)), b, nil, as), nil
	}
}

// close ends all reading, and removes the file.
func (s *spool) close() {
	_ = s.file.Close() // its content is not needed any more
}
