package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// layoutImage reads an image of an OCI layout (types.ImageSource) straight from its files, any
// number of them at the same time. What index.json said when it was opened stays true.
type layoutImage struct {
	ref      types.ImageReference
	sys      *types.SystemContext
	upstream types.ImageReference // the same, by which upstream finds it
	files    layoutFiles
	index    *layoutIndex
	position int // in index, of what ref names
}

// openLayoutImage returns nil where upstream has to read the layout or archive, or to say what is
// wrong with the reference.
func openLayoutImage(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (types.ImageSource, error) {
	if !isWritten(ref) {
		return nil, nil
	}
	files, err := openLayoutFiles(ctx, ref, sys)
	if err != nil || files == nil {
		return nil, err
	}
	image, err := chooseImage(ref, sys, files)
	if err != nil || image == nil {
		return nil, errors.Join(err, files.Close())
	}
	return image, nil
}

// isWritten reports whether ref is nothing but what it says when it is written down. Some are not
// to leave a directory, whatever links there are in it.
func isWritten(ref types.ImageReference) bool {
	written, err := ref.Transport().ParseReference(ref.StringWithinTransport())
	return err == nil && written == ref
}

// chooseImage returns what ref names among files, which the image closes; nil if upstream is to say
// what is wrong with that.
func chooseImage(ref types.ImageReference, sys *types.SystemContext, files layoutFiles) (*layoutImage, error) {
	content, err := readFile(files, imgspecv1.ImageIndexFile, maxIndexSize)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", imgspecv1.ImageIndexFile, err)
	}
	place, image := splitLayoutReference(ref)
	position, err := index.chosen(image)
	if err != nil || position < 0 {
		return nil, err
	}
	s := &layoutImage{ref: ref, sys: sys, upstream: ref, files: files, index: index, position: position}
	if ref.Transport().Name() == layout.Transport.Name() {
		s.upstream, err = layout.NewIndexReference(place, position)
	}
	return s, err
}

func (s *layoutImage) Reference() types.ImageReference { return s.ref }

func (s *layoutImage) Close() error { return s.files.Close() }

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
	content, err := readFile(s.files, blobName(is.Digest), maxManifest)
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
	return s.files.open(blobName(b.Digest))
}

// foreignBlob reads a layer that may be elsewhere, which only upstream's copy asks for. It is read
// here where upstream does not find the image, as it may be by containerd's name in an archive.
func (s *layoutImage) foreignBlob(ctx context.Context, b types.BlobInfo) (io.ReadCloser, int64, error) {
	src, err := s.upstream.NewImageSource(ctx, s.sys)
	if isFileNotFound(err) {
		return s.files.open(blobName(b.Digest))
	}
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
