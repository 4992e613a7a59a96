package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/regular"
)

// layoutImage reads an image of an OCI layout (types.ImageSource) straight from its files: it holds
// nothing open, and any number of blobs are read at the same time. What index.json said when it was
// opened stays true.
type layoutImage struct {
	ref      types.ImageReference
	sys      *types.SystemContext
	dir      string // of the layout
	blobs    string
	index    *layoutIndex
	position int // in index, of what ref names
}

// openLayoutImage returns nil where upstream has to read the layout, or to say what is wrong with
// the reference.
func openLayoutImage(ref types.ImageReference, sys *types.SystemContext) (types.ImageSource, error) {
	if !isPlainLayout(ref) {
		return nil, nil
	}
	dir, image := splitLayoutReference(ref)
	path := filepath.Join(dir, imgspecv1.ImageIndexFile)
	content, err := readDocument(path, maxIndexSize)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	position, err := index.chosen(image)
	if err != nil || position < 0 {
		return nil, err
	}
	return &layoutImage{ref: ref, sys: sys, dir: dir, blobs: layoutBlobs(dir, sys), index: index, position: position}, nil
}

// isPlainLayout reports whether ref is nothing but what it says when it is written down. Some are
// not to leave a directory, whatever links there are in it.
func isPlainLayout(ref types.ImageReference) bool {
	written, err := layout.ParseReference(ref.StringWithinTransport())
	return err == nil && written == ref
}

// layoutBlobs is the directory of the blobs of the layout in dir.
func layoutBlobs(dir string, sys *types.SystemContext) string {
	if sys != nil && sys.OCISharedBlobDirPath != "" {
		return sys.OCISharedBlobDirPath
	}
	return filepath.Join(dir, imgspecv1.ImageBlobsDir)
}

// layoutBlob is the file of a blob in a directory of blobs. The digest must be valid.
func layoutBlob(blobs string, d digest.Digest) string {
	return filepath.Join(blobs, d.Algorithm().String(), d.Encoded())
}

// readDocument reads a file of at most that many bytes.
func readDocument(path string, most int64) ([]byte, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return content, nil
}

func (s *layoutImage) Reference() types.ImageReference { return s.ref }

func (s *layoutImage) Close() error { return nil }

func (s *layoutImage) HasThreadSafeGetBlob() bool { return true }

// top is the digest of what the reference names.
func (s *layoutImage) top() digest.Digest { return s.index.entries[s.position].Digest }

func (s *layoutImage) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	is := s.index.entries[s.position].Descriptor
	if instance != nil {
		is = s.described(*instance)
	}
	if err := errors.Join(ctx.Err(), is.Digest.Validate()); err != nil {
		return nil, "", fmt.Errorf("digest %q: %w", is.Digest, err)
	}
	content, err := readDocument(layoutBlob(s.blobs, is.Digest), maxManifest)
	if err != nil {
		return nil, "", err
	}
	actual, err := manifest.DigestWithAlgorithm(content, is.Digest.Algorithm())
	if err != nil {
		return nil, "", err
	}
	if actual != is.Digest {
		return nil, "", fmt.Errorf("the manifest's content does not match its digest %s", is.Digest)
	}
	return content, cmp.Or(is.MediaType, manifest.GuessMIMEType(content)), nil
}

// described is what index.json says of the document with digest d.
func (s *layoutImage) described(d digest.Digest) imgspecv1.Descriptor {
	for _, entry := range s.index.entries {
		if entry.Digest == d {
			return entry.Descriptor
		}
	}
	return imgspecv1.Descriptor{Digest: d}
}

func (s *layoutImage) GetBlob(ctx context.Context, b types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if err := errors.Join(ctx.Err(), b.Digest.Validate()); err != nil {
		return nil, 0, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	if len(b.URLs) > 0 {
		return s.foreignBlob(ctx, b)
	}
	f, size, err := regular.Open(layoutBlob(s.blobs, b.Digest))
	if err != nil {
		return nil, 0, err
	}
	return f, size, nil
}

// foreignBlob reads a layer that may be elsewhere, which only upstream's copy asks for.
func (s *layoutImage) foreignBlob(ctx context.Context, b types.BlobInfo) (io.ReadCloser, int64, error) {
	ref, err := layout.NewIndexReference(s.dir, s.position)
	if err != nil {
		return nil, 0, err
	}
	src, err := ref.NewImageSource(ctx, s.sys)
	if err != nil {
		return nil, 0, err
	}
	r, size, err := src.GetBlob(ctx, b, none.NoCache)
	if err != nil {
		return nil, 0, errors.Join(err, src.Close())
	}
	return endpoint.CloseBoth(r, src), size, nil
}

// GetSignatures returns none: layouts have no place for them.
func (s *layoutImage) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

func (s *layoutImage) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}
