package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/regular"
)

// directoryImage reads a dir: directory straight from its files, any number of them at the same
// time. Signatures are upstream's to read, which alone knows those of all formats.
type directoryImage struct {
	types.ImageSource // upstream's
	dir               string
}

func openDirectoryImage(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (types.ImageSource, error) {
	dir := ref.StringWithinTransport()
	if err := checkVersion(filepath.Join(dir, directoryVersion)); err != nil {
		return nil, err
	}
	src, err := ref.NewImageSource(ctx, sys) // reads the version
	if err != nil {
		return nil, err
	}
	return &directoryImage{src, dir}, nil
}

// Limits on files that upstream reads as a whole.
const (
	maxVersion    = 64       // bytes
	maxSignatures = 16 << 20 // bytes of all signatures of one document
)

// versionPrefix begins what a version file states.
const versionPrefix = "Directory Transport Version: "

// checkVersion returns an error if the file at path, which need not be there, states no version.
// Upstream's would have all that it holds, which may be a secret: it may be a link to anything.
func checkVersion(path string) error {
	content, err := readDocument(path, maxVersion)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !strings.HasPrefix(string(content), versionPrefix):
		return fmt.Errorf("%s states no version of a directory", path)
	}
	return nil
}

func (s *directoryImage) HasThreadSafeGetBlob() bool { return true }

func (s *directoryImage) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	path := filepath.Join(s.dir, directoryManifest)
	err := ctx.Err()
	if instance != nil && err == nil {
		path, err = directoryFile(s.dir, *instance, "."+directoryManifest)
	}
	if err != nil {
		return nil, "", err
	}
	content, err := readDocument(path, maxManifest)
	if err != nil {
		return nil, "", err
	}
	return content, manifest.GuessMIMEType(content), nil
}

func (s *directoryImage) GetBlob(ctx context.Context, b types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	path, err := directoryFile(s.dir, b.Digest, "")
	if err := errors.Join(ctx.Err(), err); err != nil {
		return nil, 0, err
	}
	f, size, err := regular.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return f, size, nil
}

// forSignatures returns upstream's source, once it is known to wait for no pipe, and to find room:
// it reads the files of the signatures of instance, and nil stands for what the directory as a
// whole holds.
func (s *directoryImage) forSignatures(instance *digest.Digest) (types.ImageSource, error) {
	start := filepath.Join(s.dir, directorySignatures)
	if instance != nil {
		var err error
		if start, err = directoryFile(s.dir, *instance, "."+directorySignatures); err != nil {
			return nil, err
		}
	}
	for i, left := 1, int64(maxSignatures); ; i++ {
		f, size, err := regular.Open(fmt.Sprintf("%s%d", start, i))
		if errors.Is(err, fs.ErrNotExist) {
			return s.ImageSource, nil
		}
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		if left -= size; left < 0 {
			return nil, fmt.Errorf("%s* have more than %d bytes", start, int64(maxSignatures))
		}
	}
}

// directoryFile is the file of a blob in a dir: directory, or, with a suffix, one about the
// manifest with that digest.
func directoryFile(dir string, d digest.Digest, suffix string) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	name := d.Encoded()
	if d.Algorithm() != digest.Canonical {
		name = d.Algorithm().String() + "-" + name
	}
	return filepath.Join(dir, name+suffix), nil
}
