package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

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
	if err := checkRegular(filepath.Join(dir, directoryVersion)); err != nil {
		return nil, err
	}
	src, err := ref.NewImageSource(ctx, sys) // reads the version
	if err != nil {
		return nil, err
	}
	return &directoryImage{src, dir}, nil
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

// forSignatures returns upstream's source, once it is known to wait for no pipe: it reads the files
// of the signatures of instance, and nil stands for what the directory as a whole holds.
func (s *directoryImage) forSignatures(instance *digest.Digest) (types.ImageSource, error) {
	start := filepath.Join(s.dir, directorySignatures)
	if instance != nil {
		var err error
		if start, err = directoryFile(s.dir, *instance, "."+directorySignatures); err != nil {
			return nil, err
		}
	}
	for i := 1; ; i++ {
		f, _, err := regular.Open(fmt.Sprintf("%s%d", start, i))
		if errors.Is(err, fs.ErrNotExist) {
			return s.ImageSource, nil
		}
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
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
