package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/regular"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A source implements endpoint.Source and endpoint.ReferrerSource for one image of a bundle.
//
// What the record calls absent is not there. Whatever else is lacking, or is not what its digest
// says, is a *DamagedError.
type source struct {
	*Bundle
	ref        types.ImageReference // that the image had
	sys        *types.SystemContext // for what earlier bundles brought
	repository string
	image      Image
	top        endpoint.Document
	absent     map[digest.Digest]bool
	closing    func() error // nil if there is nothing to close
	elsewhere  endpoint.ReadBlob

	mu       sync.Mutex                            // guards what follows
	read     map[digest.Digest]endpoint.Signatures // signatures
	declared map[digest.Digest]string              // media types of children, as lists that were read state them
}

var (
	_ endpoint.SizedSource    = (*source)(nil)
	_ endpoint.ReferrerSource = (*source)(nil)
	_ endpoint.Changer        = (*source)(nil)
	_ endpoint.Scattered      = (*source)(nil)
)

func newSource(ctx context.Context, b *Bundle, named reference.Named, sys *types.SystemContext) (*source, error) {
	name := named.String()
	image, ok := b.images[name]
	if !ok {
		return nil, fmt.Errorf("the bundle has no image %s: %w", name, endpoint.ErrNotFound)
	}
	if entry, ok := b.entries[name]; !ok || entry.Digest != image.Digest {
		return nil, damaged("its index does not name the image")
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return nil, err
	}
	s := &source{
		Bundle: b, ref: ref, sys: sys, repository: named.Name(), image: image,
		absent: map[digest.Digest]bool{}, read: map[digest.Digest]endpoint.Signatures{}, declared: map[digest.Digest]string{},
	}
	s.elsewhere = s.throughTransport
	for _, d := range image.Absent {
		s.absent[d] = true
	}
	for _, a := range b.attached[s.repository] {
		for _, d := range a.Absent {
			s.absent[d] = true
		}
	}
	s.top, err = s.Manifest(ctx, image.Digest)
	return s, err
}

// Reference implements endpoint.Source. It is the docker reference that the image had at its
// source.
func (s *source) Reference() types.ImageReference { return s.ref }

// Top implements endpoint.Source.
func (s *source) Top() endpoint.Document { return s.top }

// Manifest implements endpoint.Source.
func (s *source) Manifest(_ context.Context, d digest.Digest) (endpoint.Document, error) {
	if err := d.Validate(); err != nil {
		return endpoint.Document{}, fmt.Errorf("digest %q: %w", d, err)
	}
	s.mu.Lock()
	declared := cmp.Or(s.types[d], s.declared[d])
	s.mu.Unlock()
	doc, err := s.dir.document(d, declared)
	switch {
	case err == nil:
		s.noteChildren(doc)
		return doc, nil
	case !errors.Is(err, fs.ErrNotExist):
		return endpoint.Document{}, err
	case s.absent[d]:
		return endpoint.Document{}, fmt.Errorf("the bundle does not have %s: %w", d, endpoint.ErrNotFound)
	}
	return endpoint.Document{}, damaged("it lacks the manifest %s", d)
}

// noteChildren notes what a list says of its children: documents need not say themselves what they
// are.
func (s *source) noteChildren(doc endpoint.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range instances(doc) {
		if s.declared[in.Digest] == "" && !in.IsBlob() {
			s.declared[in.Digest] = in.MediaType
		}
	}
}

// Blob implements endpoint.Source.
func (s *source) Blob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	if err := b.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	f, size, err := regular.Open(s.dir.blobPath(b.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return s.earlierBlob(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	if b.Size >= 0 && size != b.Size {
		err = damaged("blob %s does not have the %d bytes that its manifest states", b.Digest, b.Size)
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// BlobSize implements endpoint.SizedSource. What came with an earlier bundle is not there.
func (s *source) BlobSize(_ context.Context, b endpoint.Blob) (int64, error) {
	if err := b.Digest.Validate(); err != nil {
		return 0, fmt.Errorf("digest %q: %w", b.Digest, err)
	}
	info, err := os.Stat(s.dir.blobPath(b.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("the bundle does not have %s: %w", b.Digest, endpoint.ErrNotFound)
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// earlierBlob reads a blob that the bundle does not have.
func (s *source) earlierBlob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	if _, known := s.blobs[b.Digest]; !known || s.record.Since == "" {
		return nil, damaged("it lacks the blob %s", b.Digest)
	}
	failed := func(err error) error { return &EarlierError{Blob: b.Digest, Since: s.record.before(), Err: err} }
	repository := s.Elsewhere(b)
	if repository == nil {
		return nil, failed(endpoint.ErrNotFound)
	}
	image, err := earlierImage(repository, s.blobs[b.Digest])
	if err != nil {
		return nil, failed(err)
	}
	return &lateReader{open: func() (io.ReadCloser, error) {
		r, err := s.elsewhere(ctx, image, b)
		if err != nil {
			return nil, failed(err)
		}
		return r, nil
	}}, nil
}

// Elsewhere implements endpoint.Scattered.
func (s *source) Elsewhere(b endpoint.Blob) reference.Named {
	place, known := s.blobs[b.Digest]
	if !known || s.loaded == nil || place.Repository == s.repository || s.dir.has(b.Digest, -1) {
		return nil // of the same repository, the destination has been asked
	}
	repository, err := s.loaded(place.Repository)
	if err != nil {
		return nil
	}
	return repository
}

// Lacks implements endpoint.Scattered.
func (s *source) Lacks(b endpoint.Blob) bool { return s.absent[b.Digest] && !s.dir.has(b.Digest, -1) }

// ReadElsewhere implements endpoint.Scattered.
func (s *source) ReadElsewhere(read endpoint.ReadBlob) { s.elsewhere = read }

// earlierImage is the image that a blob came with, in the repository where it is now.
func earlierImage(repository reference.Named, b Blob) (types.ImageReference, error) {
	digested, err := reference.WithDigest(reference.TrimNamed(repository), b.Manifest)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(digested)
}

// throughTransport reads a blob from a registry through its transport.
func (s *source) throughTransport(ctx context.Context, image types.ImageReference, b endpoint.Blob) (io.ReadCloser, error) {
	src, err := image.NewImageSource(ctx, s.sys)
	if err != nil {
		return nil, err
	}
	r, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: b.Digest, Size: b.Size}, none.NoCache)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return endpoint.CloseBoth(r, src), nil
}

// A lateReader opens what it reads when it is read first: most of what is asked for turns out to be
// at the destination.
type lateReader struct {
	open func() (io.ReadCloser, error)
	r    io.ReadCloser // nil until it is open
	err  error         // of open
}

func (l *lateReader) Read(p []byte) (int, error) {
	if l.r == nil && l.err == nil {
		l.r, l.err = l.open()
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.r.Read(p)
}

func (l *lateReader) Close() error {
	if l.r == nil {
		return nil
	}
	return l.r.Close()
}

// Signatures implements endpoint.Source.
func (s *source) Signatures(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sigs, ok := s.read[d]; ok {
		return sigs, nil
	}
	sigs, err := s.signatures(ctx, d)
	if err == nil {
		s.read[d] = sigs
	}
	return sigs, err
}

// Unparsed implements endpoint.Source.
func (s *source) Unparsed(doc endpoint.Document) types.UnparsedImage {
	return endpoint.Unparsed(s.ref, doc, func(ctx context.Context) (endpoint.Signatures, error) {
		return s.Signatures(ctx, doc.Digest)
	})
}

// Changed implements endpoint.Changer.
func (s *source) Changed() []digest.Digest { return s.image.Changed }

// Referrers implements endpoint.ReferrerSource.
func (s *source) Referrers(ctx context.Context, d digest.Digest, _ string) ([]imgspecv1.Descriptor, error) {
	var referrers []imgspecv1.Descriptor
	for _, a := range s.attached[s.repository] {
		if a.Subject != d || a.Tag != "" {
			continue
		}
		doc, err := s.Manifest(ctx, a.Digest)
		if err != nil {
			return nil, err
		}
		referrers = append(referrers, descriptor("", doc))
	}
	return referrers, nil
}

// Tagged implements endpoint.ReferrerSource.
func (s *source) Tagged(ctx context.Context, tag string) (endpoint.Document, error) {
	attached := s.attached[s.repository]
	i := slices.IndexFunc(attached, func(a Attached) bool { return a.Tag == tag })
	if i < 0 || tag == "" {
		return endpoint.Document{}, fmt.Errorf("the bundle has no tag %s of %s: %w", tag, s.repository, endpoint.ErrNotFound)
	}
	return s.Manifest(ctx, attached[i].Digest)
}

// DigestTags implements endpoint.TagLister.
func (s *source) DigestTags(context.Context, int) ([]string, error) {
	var tags []string
	for _, a := range s.attached[s.repository] {
		if digesttag.Stem(a.Tag) != "" {
			tags = append(tags, a.Tag)
		}
	}
	return tags, nil
}

// Close implements endpoint.Source. It may be called more than once.
func (s *source) Close() error {
	closing := s.closing
	s.closing = nil
	if closing == nil {
		return nil
	}
	return closing()
}

// tree returns the digests of a manifest or list, and of what it names and the bundle has.
func (b *Bundle) tree(top digest.Digest) ([]digest.Digest, error) {
	var all []digest.Digest
	seen := map[digest.Digest]bool{}
	for step := []digest.Digest{top}; len(step) > 0; {
		var next []digest.Digest
		for _, d := range step {
			if seen[d] || !b.dir.has(d, -1) {
				continue
			}
			seen[d] = true
			all = append(all, d)
			doc, err := b.dir.document(d, b.types[d])
			if err != nil {
				return nil, err
			}
			for _, in := range instances(doc) {
				if !in.IsBlob() {
					next = append(next, in.Digest)
				}
			}
		}
		step = next
	}
	return all, nil
}

// instances returns the entries of a list, nil for anything else.
func instances(doc endpoint.Document) []manifest.Instance {
	if !manifest.IsListMediaType(doc.MediaType) {
		return nil
	}
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return nil // whoever copies it says so
	}
	return list.Instances()
}

// An imageSource is a source for others than package copy.
type imageSource struct {
	source *source
	ref    *bundleReference
}

func (s *imageSource) Reference() types.ImageReference { return s.ref }

func (s *imageSource) Close() error { return s.source.Close() }

func (s *imageSource) HasThreadSafeGetBlob() bool { return true }

func (s *imageSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	doc := s.source.top
	if instance != nil {
		var err error
		if doc, err = s.source.Manifest(ctx, *instance); err != nil {
			return nil, "", err
		}
	}
	return doc.Bytes, doc.MediaType, nil
}

func (s *imageSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	r, err := s.source.Blob(ctx, endpoint.Blob{Digest: info.Digest, Size: info.Size, MediaType: info.MediaType})
	return r, info.Size, err
}

// GetSignatures implements types.ImageSource, whose signatures are in the simple signing format.
// Others are not left behind without a word.
func (s *imageSource) GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error) {
	d := s.source.top.Digest
	if instance != nil {
		d = *instance
	}
	all, err := s.source.Signatures(ctx, d)
	if err != nil || all.Len() == 0 {
		return nil, err
	}
	simple, err := s.source.sigs.GetSignatures(ctx, &d)
	if err == nil && len(simple) < all.Len() {
		err = fmt.Errorf("signatures of %s have formats that only this library's package copy reads", d)
	}
	return simple, err
}

func (s *imageSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}
