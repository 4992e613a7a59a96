package transforming

import (
	"context"
	"io"
	"os"
	"runtime"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A spool is a temporary file for content whose digest is known when all of it is there.
type spool struct {
	file *os.File
	// nameless is set if the file is gone from its directory: nothing stays behind, whatever
	// happens to the process.
	nameless bool
}

// newSpool makes a spool in the directory for big files of sys, which may be nil.
func newSpool(sys *types.SystemContext) (*spool, error) {
	file, err := os.CreateTemp(spoolDir(sys), "sparsecopy-layer-")
	if err != nil {
		return nil, err
	}
	return &spool{file, os.Remove(file.Name()) == nil}, nil
}

// spoolDir is where upstream keeps big temporary files, too: what is in the system's directory for
// temporary files may be held in memory.
func spoolDir(sys *types.SystemContext) string {
	switch {
	case sys != nil && sys.BigFilesTemporaryDir != "":
		return sys.BigFilesTemporaryDir
	case runtime.GOOS == "windows":
		return os.TempDir()
	}
	return "/var/tmp"
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
	_ = s.file.Close()
	if !s.nameless {
		_ = os.Remove(s.file.Name())
	}
}
