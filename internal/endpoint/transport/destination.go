package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// Destination implements endpoint.Destination.
//
// It writes to oci: under a lock that is held from OpenDestination to Close, so that two writers to
// one layout take turns; to dir: and oci-archive: into a temporary place beside the final one.
// Close removes what was not published.
type Destination struct {
	// CommitImage is what PutTop tells the transport about the source; nil for the document that
	// PutTop is given. Most transports ignore it. It must be set before PutTop.
	CommitImage types.UnparsedImage

	ref     types.ImageReference
	end     end
	options Options
	// turn is taken by PutBlob where the transport stores one blob at a time; nil where it stores
	// several.
	turn *turns.Turn

	closing  sync.Once
	closeErr error
}

var (
	_ endpoint.Destination = (*Destination)(nil)
	_ endpoint.Rereader    = (*Destination)(nil)
)

// An end is what transports do differently. Arguments are valid and verified; errors are upstream's
// own.
type end interface {
	// image is upstream's destination; handOver gives it away, to somebody who closes it.
	image() types.ImageDestination
	handOver() types.ImageDestination
	// top, hasManifest, hasBlob, putBlob and putManifest are those of endpoint.Destination.
	top(ctx context.Context) (digest.Digest, error)
	hasManifest(ctx context.Context, d digest.Digest) (bool, error)
	hasBlob(ctx context.Context, b endpoint.Blob) (bool, error)
	putBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (reused bool, err error)
	putManifest(ctx context.Context, doc endpoint.Document) error
	// putTop is that of endpoint.Destination. commit goes to the transport's own Commit.
	putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, commit types.UnparsedImage) error
	// publish makes visible what was committed at image by somebody else.
	publish(ctx context.Context) error
	// close removes what was not published, and closes image unless it was handed over.
	close() error
}

// errUnknown is the answer of transports that cannot tell what a reference names.
var errUnknown = fmt.Errorf("the transport cannot tell what the reference names: %w", endpoint.ErrNotFound)

// errUnreadable is the answer of transports that hand nothing out.
var errUnreadable = fmt.Errorf("the transport does not read what was written: %w", endpoint.ErrNotFound)

// Options are the choices of who opens an end. The zero value is useful.
type Options struct {
	// NoSync leaves it to the system when files of oci: reach the disk. Otherwise what a reference
	// names outlasts a loss of power once PutTop has returned. What upstream's copy writes through
	// HandOver, that syncs as it likes. What was written without, later Destinations take for what
	// it is, and do not sync either.
	NoSync bool
	// HardLinks lets a Destination of oci: give a blob that it gets as a file one more name, where
	// blobdir.Dir.Link does that.
	HardLinks bool
	// TrustFiles lets a Source of oci:, oci-archive: or dir: vouch for its files: one that has the
	// size of a blob is copied to oci: as the blob, whatever its digest.
	TrustFiles bool
}

// OpenDestination opens ref for writing, with no Options.
func OpenDestination(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (*Destination, error) {
	return Options{}.OpenDestination(ctx, ref, sys)
}

// OpenDestination opens ref for writing. For oci: it waits until no other Destination of the same
// layout is open, in any process.
func (o Options) OpenDestination(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (*Destination, error) {
	e, err := o.openEnd(ctx, ref, sys)
	if err != nil {
		return nil, wrap(ref, operation{verb: "opening"}, err)
	}
	d := &Destination{ref: ref, end: e, options: o}
	if !e.image().HasThreadSafePutBlob() {
		d.turn = &turns.Turn{}
	}
	return d, nil
}

func (o Options) openEnd(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (end, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch own(ref) {
	case docker.Transport.Name():
		return openRegistry(ctx, ref, sys)
	case layout.Transport.Name():
		return o.openLayout(ctx, ref, sys)
	case directory.Transport.Name():
		return openDirectory(ctx, ref, sys)
	case archive.Transport.Name():
		return openArchive(ctx, ref, sys)
	}
	dest, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &plainEnd{dest: dest}, nil
}

// Reference implements endpoint.Destination.
func (d *Destination) Reference() types.ImageReference { return d.ref }

// Options returns what the Destination was opened with.
func (d *Destination) Options() Options { return d.options }

// HandOver returns the upstream destination that was opened, for upstream's copy, which commits and
// closes it. After that the Destination's methods are Publish, which makes visible what was
// committed, and Close, which leaves upstream's destination alone. Its reference is that of the
// temporary place where the transport has one.
func (d *Destination) HandOver() types.ImageDestination { return d.end.handOver() }

// SupportedManifestMIMETypes lists the media types that the transport stores; nil if it stores any.
func (d *Destination) SupportedManifestMIMETypes() []string {
	return d.end.image().SupportedManifestMIMETypes()
}

// SupportsLists reports whether the transport stores lists.
func (d *Destination) SupportsLists() bool {
	supported := d.SupportedManifestMIMETypes()
	return len(supported) == 0 || slices.ContainsFunc(supported, manifest.MIMETypeIsMultiImage)
}

// SupportsSignatures says why the transport stores no signatures, nil if it does.
func (d *Destination) SupportsSignatures(ctx context.Context) error {
	return wrap(d.ref, operation{verb: "storing signatures"}, d.end.image().SupportsSignatures(ctx))
}

// Top implements endpoint.Destination.
func (d *Destination) Top(ctx context.Context) (digest.Digest, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	top, err := d.end.top(ctx)
	return top, wrap(d.ref, operation{verb: "asking for the digest of", method: "HEAD", path: manifestPath(d.ref)}, err)
}

// HasManifest implements endpoint.Destination. A dir: destination has only what was written since
// it was opened, because the rest is gone when it is published; other transports than docker:, oci:
// and dir: cannot tell, and have nothing.
func (d *Destination) HasManifest(ctx context.Context, m digest.Digest) (bool, error) {
	op := operation{verb: "looking for manifest", object: string(m), method: "HEAD", path: "manifests/" + string(m)}
	if err := errors.Join(ctx.Err(), m.Validate()); err != nil {
		return false, wrap(d.ref, op, err)
	}
	has, err := d.end.hasManifest(ctx, m)
	return has, wrap(d.ref, op, err)
}

// Manifest implements endpoint.Rereader. Other transports than oci: hand nothing out.
func (d *Destination) Manifest(ctx context.Context, m digest.Digest) (endpoint.Document, error) {
	op := operation{verb: "reading manifest", object: string(m)}
	if err := errors.Join(ctx.Err(), m.Validate()); err != nil {
		return endpoint.Document{}, wrap(d.ref, op, err)
	}
	e, ok := d.end.(*layoutEnd)
	if !ok {
		return endpoint.Document{}, wrap(d.ref, op, errUnreadable)
	}
	content, err := e.manifest(m)
	if err != nil {
		return endpoint.Document{}, wrap(d.ref, op, err)
	}
	return endpoint.NewDocument(m, "", content), nil
}

// HasBlob implements endpoint.Destination. For dir:, see HasManifest.
func (d *Destination) HasBlob(ctx context.Context, b endpoint.Blob) (bool, error) {
	op := operation{verb: "looking for blob", object: string(b.Digest), method: "HEAD", path: "blobs/" + string(b.Digest)}
	if err := errors.Join(ctx.Err(), b.Digest.Validate()); err != nil {
		return false, wrap(d.ref, op, err)
	}
	has, err := d.end.hasBlob(ctx, b)
	return has, wrap(d.ref, op, err)
}

// PutBlob implements endpoint.Destination. It calls open at most once.
func (d *Destination) PutBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (endpoint.PutResult, error) {
	op := operation{verb: "storing blob", object: string(b.Digest), path: "blobs/" + string(b.Digest)}
	if err := errors.Join(ctx.Err(), b.Digest.Validate()); err != nil {
		return endpoint.PutResult{}, wrap(d.ref, op, err)
	}
	if d.turn != nil {
		done, err := d.turn.Take(ctx)
		if err != nil {
			return endpoint.PutResult{}, err
		}
		defer done()
	}
	reused, err := d.end.putBlob(ctx, b, open)
	return endpoint.PutResult{Reused: reused}, wrap(d.ref, op, err)
}

// lazyReader opens its content when it is read for the first time, and ends with its context.
type lazyReader struct {
	ctx  context.Context
	open endpoint.Opener
	r    io.ReadCloser // nil until the first Read
	err  error         // of opening or reading, other than io.EOF
}

func (l *lazyReader) Read(p []byte) (n int, err error) {
	defer func() {
		if err != nil && !errors.Is(err, io.EOF) {
			l.err = err
		}
	}()
	if l.err != nil {
		return 0, l.err
	}
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	if l.r == nil {
		if l.r, err = l.open(l.ctx); err != nil {
			l.r = nil
			return 0, err
		}
	}
	return l.r.Read(p)
}

func (l *lazyReader) close() {
	if l.r != nil {
		_ = l.r.Close() // the content was verified while it was read
	}
}

// PutManifest implements endpoint.Destination.
func (d *Destination) PutManifest(ctx context.Context, doc endpoint.Document) error {
	op := operation{verb: "storing manifest", object: string(doc.Digest), method: "PUT", path: "manifests/" + string(doc.Digest)}
	if err := errors.Join(ctx.Err(), doc.Digest.Validate()); err != nil {
		return wrap(d.ref, op, err)
	}
	return wrap(d.ref, op, d.end.putManifest(ctx, doc))
}

// PutSignatures implements endpoint.Destination.
func (d *Destination) PutSignatures(ctx context.Context, m digest.Digest, sigs endpoint.Signatures) error {
	op := operation{verb: "storing signatures", object: string(m)}
	if err := errors.Join(ctx.Err(), m.Validate()); err != nil {
		return wrap(d.ref, op, err)
	}
	return wrap(d.ref, op, sigs.Put(ctx, d.end.image(), &m))
}

// PutTop implements endpoint.Destination.
func (d *Destination) PutTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures) error {
	op := operation{verb: "storing", method: "PUT", path: manifestPath(d.ref)}
	if err := errors.Join(ctx.Err(), doc.Digest.Validate()); err != nil {
		return wrap(d.ref, op, err)
	}
	if sigs == nil {
		sigs = endpoint.NoSignatures()
	}
	commit := d.CommitImage
	if commit == nil {
		commit = endpoint.Unparsed(d.ref, doc, func(context.Context) (endpoint.Signatures, error) { return sigs, nil })
	}
	return wrap(d.ref, op, d.end.putTop(ctx, doc, sigs, commit))
}

// Publish makes the reference name what upstream's copy has written through HandOver, and
// committed. PutTop does not need it.
func (d *Destination) Publish(ctx context.Context) error {
	op := operation{verb: "publishing"}
	if err := ctx.Err(); err != nil {
		return wrap(d.ref, op, err)
	}
	return wrap(d.ref, op, d.end.publish(ctx))
}

// Close implements endpoint.Destination. It may be called more than once.
func (d *Destination) Close() error {
	d.closing.Do(func() { d.closeErr = d.end.close() })
	return d.closeErr
}

// plainEnd is an end that leaves everything to upstream's destination. The others embed it.
type plainEnd struct {
	dest   types.ImageDestination
	handed bool // somebody else closes dest
}

func (e *plainEnd) image() types.ImageDestination { return e.dest }

func (e *plainEnd) handOver() types.ImageDestination {
	e.handed = true
	return e.dest
}

func (e *plainEnd) top(context.Context) (digest.Digest, error) { return "", errUnknown }

func (e *plainEnd) hasManifest(context.Context, digest.Digest) (bool, error) { return false, nil }

// hasBlob reports whether b is there with the size that it should have: a file may have been cut
// short.
func (e *plainEnd) hasBlob(ctx context.Context, b endpoint.Blob) (bool, error) {
	has, found, err := e.dest.TryReusingBlob(ctx, blobInfo(b), none.NoCache, false)
	if err != nil || !has {
		return false, err
	}
	return found.Digest == b.Digest && (b.Size < 0 || found.Size == b.Size), nil
}

func (e *plainEnd) putBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (reused bool, err error) {
	if has, err := e.hasBlob(ctx, b); err != nil || has {
		return has, err
	}
	return e.handBlob(ctx, b, open)
}

// handBlob gives b to upstream's destination, which may look for it before it reads the content.
func (e *plainEnd) handBlob(ctx context.Context, b endpoint.Blob, open endpoint.Opener) (reused bool, err error) {
	content := &lazyReader{ctx: ctx, open: open}
	defer content.close()
	stored, err := e.dest.PutBlob(ctx, content, blobInfo(b), none.NoCache, b.Config)
	if content.err != nil {
		return false, content.err // the destination's own complaint is a consequence
	}
	if err != nil {
		return false, err
	}
	if stored.Digest != b.Digest {
		return false, mismatch("the stored blob's digest", b.Digest, stored.Digest)
	}
	if b.Size >= 0 && stored.Size != b.Size {
		return false, mismatch("the stored blob's size", b.Size, stored.Size)
	}
	return content.r == nil, nil
}

func (e *plainEnd) putManifest(ctx context.Context, doc endpoint.Document) error {
	return e.dest.PutManifest(ctx, doc.Bytes, &doc.Digest)
}

func (e *plainEnd) putTop(ctx context.Context, doc endpoint.Document, sigs endpoint.Signatures, commit types.UnparsedImage) error {
	if sigs.Len() > 0 {
		if err := e.dest.SupportsSignatures(ctx); err != nil {
			return err
		}
	}
	if err := e.dest.PutManifest(ctx, doc.Bytes, nil); err != nil {
		return err
	}
	if err := sigs.Put(ctx, e.dest, nil); err != nil {
		return err
	}
	return e.dest.Commit(ctx, commit)
}

func (e *plainEnd) publish(context.Context) error { return nil }

func (e *plainEnd) close() error {
	if e.handed {
		return nil
	}
	return e.dest.Close()
}
