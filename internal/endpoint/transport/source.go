package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/filecopy"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// maxManifest is the size in bytes of the largest manifest or list that is accepted.
const maxManifest = 4 << 20

// Source implements endpoint.Source.
//
// A transport that can neither read two blobs at once nor be opened twice (archives that have to be
// unpacked) hands out one reader at a time: Blob, Manifest and Signatures wait until the reader
// before is closed, or their context ends.
type Source struct {
	ref     types.ImageReference
	sys     *types.SystemContext
	options Options
	top     endpoint.Document
	pool    *pool

	mu   sync.Mutex
	sigs map[digest.Digest]*signaturesOf // guarded by mu
	// attached finds referrers in a layout; nil until it is asked for. Guarded by mu.
	attached *layoutReferrers
}

var _ endpoint.Source = (*Source)(nil)

// OpenSource opens ref, with no Options.
func OpenSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (*Source, error) {
	return Options{}.OpenSource(ctx, ref, sys)
}

// OpenSource opens ref and reads what it names. The error wraps endpoint.ErrNotFound if it
// definitely names nothing.
//
// What a digest reference names must match the digest. In a layout (oci:, oci-archive:) it must
// match the digest of its entry in index.json.
func (o Options) OpenSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (*Source, error) {
	op := operation{verb: "opening", method: "GET", path: manifestPath(ref), unproven: true}
	src, err := newImageSource(ctx, ref, sys)
	if err != nil {
		return nil, confirmAbsence(ctx, ref, sys, wrap(ref, op, err))
	}
	top, err := readTop(ctx, ref, src)
	if err != nil {
		_ = src.Close() // the first error is the one that counts
		return nil, wrap(ref, op, err)
	}
	return &Source{
		ref:     ref,
		sys:     sys,
		options: o,
		top:     top,
		pool:    newPool(src, src.HasThreadSafeGetBlob(), reopen(ref, sys)),
		sigs:    map[digest.Digest]*signaturesOf{},
	}, nil
}

// newImageSource opens ref: layouts, archives of them and directories as they are, and anything
// else through upstream.
func newImageSource(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (types.ImageSource, error) {
	switch own(ref) {
	case directory.Transport.Name():
		return openDirectoryImage(ctx, ref, sys)
	case layout.Transport.Name(), archive.Transport.Name():
		if src, err := openLayoutImage(ctx, ref, sys); src != nil || err != nil {
			return src, err
		}
	}
	return ref.NewImageSource(ctx, sys)
}

// reopen returns how to open one more source of ref, or nil where that is expensive.
func reopen(ref types.ImageReference, sys *types.SystemContext) func(context.Context) (types.ImageSource, error) {
	if own(ref) == layout.Transport.Name() {
		return func(ctx context.Context) (types.ImageSource, error) { return ref.NewImageSource(ctx, sys) }
	}
	return nil
}

// manifestPath is the path of the request for what a docker: reference names; "" for other
// transports.
func manifestPath(ref types.ImageReference) string {
	switch named := ref.DockerReference().(type) {
	case reference.Canonical:
		return "manifests/" + named.Digest().String()
	case reference.NamedTagged:
		return "manifests/" + named.Tag()
	}
	return ""
}

// readTop reads what ref names from src, which is a source of ref.
func readTop(ctx context.Context, ref types.ImageReference, src types.ImageSource) (endpoint.Document, error) {
	content, mediaType, err := src.GetManifest(ctx, nil)
	if err != nil {
		return endpoint.Document{}, err
	}
	if err := checkSize(content); err != nil {
		return endpoint.Document{}, err
	}
	d, err := topDigest(ctx, ref, src, content)
	if err != nil {
		return endpoint.Document{}, err
	}
	return endpoint.NewDocument(d, mediaType, content), nil
}

// topDigest is the digest of content, which is what ref names in src; verified where something says
// what it must be.
func topDigest(ctx context.Context, ref types.ImageReference, src types.ImageSource, content []byte) (digest.Digest, error) {
	if canonical, ok := ref.DockerReference().(reference.Canonical); ok && ref.Transport().Name() == docker.Transport.Name() {
		return canonical.Digest(), verify(content, canonical.Digest())
	}
	if native, ok := src.(*layoutImage); ok {
		return native.top(), nil
	}
	switch own(ref) {
	case layout.Transport.Name(), archive.Transport.Name():
		return layoutDigest(ctx, src, content)
	}
	return manifest.Digest(content)
}

// layoutDigest is the digest under which content is filed in the layout that src reads. Upstream
// does not say what the entry in index.json was; but a blob is filed under its digest, so content
// that was damaged cannot be found under its own.
func layoutDigest(ctx context.Context, src types.ImageSource, content []byte) (digest.Digest, error) {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512, digest.SHA384} {
		if !algorithm.Available() {
			continue
		}
		d, err := manifest.DigestWithAlgorithm(content, algorithm)
		if err != nil {
			return "", err
		}
		if filed, _, err := src.GetManifest(ctx, &d); err == nil && bytes.Equal(filed, content) {
			return d, nil
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return "", errors.New("the manifest's content does not match the digest that the index names")
}

// verify returns an error unless content has digest d, which need not be valid.
func verify(content []byte, d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("digest %q: %w", d, err)
	}
	actual, err := manifest.DigestWithAlgorithm(content, d.Algorithm())
	if err != nil {
		return err
	}
	if actual != d {
		return mismatch("the manifest's digest", d, actual)
	}
	return nil
}

func checkSize(content []byte) error {
	if len(content) > maxManifest {
		return fmt.Errorf("the manifest has %d bytes, more than %d", len(content), maxManifest)
	}
	return nil
}

// Reference implements endpoint.Source.
func (s *Source) Reference() types.ImageReference { return s.ref }

// Options returns what the Source was opened with.
func (s *Source) Options() Options { return s.options }

// Top implements endpoint.Source.
func (s *Source) Top() endpoint.Document { return s.top }

// ImageSource returns the image source that was opened. It stays the Source's, which closes it;
// while it is in use, the Source's own methods must not be.
func (s *Source) ImageSource() types.ImageSource {
	if d, ok := s.pool.first.ImageSource.(*directoryImage); ok {
		return d.ImageSource // with all signatures
	}
	return s.pool.first.ImageSource
}

// HandOver returns the image source that was opened, for upstream's copy, which closes what it
// opens: most sources cannot be closed twice. From then on the Source can be closed, which leaves
// that source alone, and nothing else.
func (s *Source) HandOver() types.ImageSource {
	s.pool.first.handed = true
	return s.ImageSource()
}

// Manifest implements endpoint.Source.
func (s *Source) Manifest(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if d == s.top.Digest {
		return s.top, nil
	}
	op := operation{verb: "reading manifest", object: string(d), method: "GET", path: "manifests/" + string(d)}
	if err := d.Validate(); err != nil {
		return endpoint.Document{}, wrap(s.ref, op, err)
	}
	src, release, err := s.pool.get(ctx)
	if err != nil {
		return endpoint.Document{}, err
	}
	defer release()
	content, mediaType, err := src.GetManifest(ctx, &d)
	if err = s.absent(ctx, d, wrap(s.ref, op, err)); errors.Is(err, endpoint.ErrNotFound) && s.hasMirrors() {
		content, mediaType, err = s.manifestFromAnywhere(ctx, d)
		err = s.absent(ctx, d, wrap(s.ref, op, err))
	}
	if err != nil {
		return endpoint.Document{}, err
	}
	if err := errors.Join(checkSize(content), verify(content, d)); err != nil {
		return endpoint.Document{}, wrap(s.ref, op, err)
	}
	return endpoint.NewDocument(d, mediaType, content), nil
}

// absent is confirmAbsence for the manifest with digest d.
func (s *Source) absent(ctx context.Context, d digest.Digest, err error) error {
	if err == nil || s.ref.Transport().Name() != docker.Transport.Name() {
		return err
	}
	ref, failed := withDigest(s.ref, d)
	if failed != nil {
		return err
	}
	return confirmAbsence(ctx, ref, s.sys, err)
}

// hasMirrors reports whether registries.conf names more than one place to read the reference from.
// Upstream stays with the first of them that has the list, which may be a mirror without some of
// the children.
func (s *Source) hasMirrors() bool {
	named := s.ref.DockerReference()
	if s.ref.Transport().Name() != docker.Transport.Name() || named == nil {
		return false
	}
	registry, err := sysregistriesv2.FindRegistry(s.sys, named.Name())
	if err != nil || registry == nil {
		return false
	}
	places, err := registry.PullSourcesFromReference(named)
	return err == nil && len(places) > 1
}

// manifestFromAnywhere asks all mirrors and the registry itself for the manifest with digest d, in
// upstream's order.
func (s *Source) manifestFromAnywhere(ctx context.Context, d digest.Digest) ([]byte, string, error) {
	ref, err := withDigest(s.ref, d)
	if err != nil {
		return nil, "", err
	}
	src, err := ref.NewImageSource(ctx, s.sys)
	if err != nil {
		return nil, "", err
	}
	defer src.Close()
	return src.GetManifest(ctx, nil)
}

// withDigest is the docker: reference for digest d in the repository of ref, a docker: reference.
func withDigest(ref types.ImageReference, d digest.Digest) (types.ImageReference, error) {
	named, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), d)
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

// Blob implements endpoint.Source.
func (s *Source) Blob(ctx context.Context, b endpoint.Blob) (io.ReadCloser, error) {
	r, _, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// BlobSize returns the size of a blob in bytes, as the transport states it when the blob is opened;
// -1 if it does not. The error wraps endpoint.ErrNotFound if the blob is not there.
func (s *Source) BlobSize(ctx context.Context, b endpoint.Blob) (int64, error) {
	r, size, err := s.open(ctx, b)
	if err != nil {
		return 0, err
	}
	return size, r.Close()
}

// open opens a blob, and returns its size as the transport states it, -1 if it does not.
func (s *Source) open(ctx context.Context, b endpoint.Blob) (*blobReader, int64, error) {
	op := operation{verb: "reading blob", object: string(b.Digest), method: "GET", path: "blobs/" + string(b.Digest)}
	if err := b.Digest.Validate(); err != nil {
		return nil, 0, wrap(s.ref, op, err)
	}
	src, release, err := s.pool.get(ctx)
	if err != nil {
		return nil, 0, err
	}
	r, size, err := src.GetBlob(ctx, blobInfo(b), none.NoCache)
	if err != nil {
		release()
		return nil, 0, wrap(s.ref, op, err)
	}
	return &blobReader{ctx: ctx, r: r, trusted: s.options.TrustFiles, release: release}, size, nil
}

// blobInfo is b in upstream's words. It never has URLs: a manifest would choose where we read from.
func blobInfo(b endpoint.Blob) types.BlobInfo {
	return types.BlobInfo{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType}
}

// blobReader ends with its context, also where upstream reads a file, and gives its source back
// when it is closed.
type blobReader struct {
	ctx     context.Context
	r       io.ReadCloser
	trusted bool   // see Options.TrustFiles
	release func() // nil once closed
}

// File implements endpoint.Filed.
func (r *blobReader) File() (endpoint.File, bool) {
	part, ok := partOf(r.r)
	return endpoint.File{Part: part, Trusted: r.trusted}, ok
}

// partOf returns where what r reads is in a regular file; false if it is in none.
func partOf(r io.Reader) (filecopy.Part, bool) {
	switch r := r.(type) {
	case *archivedFile:
		return r.part, true
	case *os.File:
		info, err := r.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return filecopy.Part{}, false
		}
		return filecopy.Part{File: r, Size: info.Size()}, true
	}
	return filecopy.Part{}, false
}

func (r *blobReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (r *blobReader) Close() error {
	if r.release == nil {
		return nil
	}
	err := r.r.Close()
	r.release()
	r.release = nil
	return err
}

// signaturesOf are the signatures of one manifest, read at most once.
type signaturesOf struct {
	turn turns.Turn // whoever has it may read or set sigs
	sigs endpoint.Signatures
}

// Signatures implements endpoint.Source.
func (s *Source) Signatures(ctx context.Context, d digest.Digest) (endpoint.Signatures, error) {
	op := operation{verb: "reading signatures", object: string(d)}
	if err := d.Validate(); err != nil {
		return nil, wrap(s.ref, op, err)
	}
	of := s.signaturesOf(d)
	done, err := of.turn.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if of.sigs != nil {
		return of.sigs, nil
	}
	src, release, err := s.pool.get(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	instance := &d
	if d == s.top.Digest {
		instance = nil // dir: has the signatures of what the reference names nowhere else
	}
	sigs, err := readSignatures(ctx, src, instance)
	if err != nil {
		return nil, wrap(s.ref, op, err)
	}
	of.sigs = sigs
	return sigs, nil
}

func readSignatures(ctx context.Context, src types.ImageSource, instance *digest.Digest) (endpoint.Signatures, error) {
	if d, ok := src.(*directoryImage); ok {
		var err error
		if src, err = d.forSignatures(instance); err != nil {
			return nil, err
		}
	}
	return endpoint.ReadSignatures(ctx, src, instance)
}

func (s *Source) signaturesOf(d digest.Digest) *signaturesOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, ok := s.sigs[d]
	if !ok {
		of = &signaturesOf{}
		s.sigs[d] = of
	}
	return of
}

// Unparsed implements endpoint.Source.
func (s *Source) Unparsed(doc endpoint.Document) types.UnparsedImage {
	return endpoint.Unparsed(s.ref, doc, func(ctx context.Context) (endpoint.Signatures, error) {
		return s.Signatures(ctx, doc.Digest)
	})
}

// Close implements endpoint.Source. It may be called more than once.
func (s *Source) Close() error { return s.pool.close() }
