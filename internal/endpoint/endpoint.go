// Package endpoint defines the two ends of a copy as two small interfaces, so that the engine in
// package copy decides and schedules without knowing where bytes come from or go to.
//
// A Document is a manifest or a list that we hold, with its verified digest; a Blob names bytes
// that stream from a Source to a Destination and are never held. Signatures travel as an opaque
// value, because containers/image keeps their types to itself.
//
// Two packages implement the interfaces: internal/endpoint/transport over any containers/image
// transport, and internal/endpoint/registry, which speaks to registries directly.
package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// ErrNotFound is wrapped by the errors of Source and Destination methods if and only if the other
// side said definitely that the object is not there: a file does not exist, or a registry answered
// 404 to the question for a manifest, tag or blob.
//
// The code of a 404 does not matter (registry.redhat.io says UNKNOWN, Quay TAG_EXPIRED, Artifactory
// none), unless it is about access: with DENIED or UNAUTHORIZED the question was not answered. A
// 404 whose body is not a registry's may be that of a proxy: it counts only if the same repository
// has handed out or taken a manifest through the same end. Whoever deletes because of an absence
// asks for more: see SaysAbsent. Answers to HEAD have no body, and count unless they claim to be a
// web page.
//
// A 404 of a token service, refusals of access, server errors and broken connections never wrap it;
// nor does a 403, although Artifactory answers so for tags that are not there: see ErrUnknown.
var ErrNotFound = errors.New("not found")

// ErrUnknown is wrapped by the errors of ReferrerSource and Source.Signatures where a source does
// not tell whether what they are asked for is there: it refuses to answer for a digest tag (403),
// and for a tag that certainly does not exist too. That is neither "none" nor a fault: the caller
// says that it could not be asked.
var ErrUnknown = errors.New("could not be asked")

// SaysAbsent reports whether err is ErrNotFound in a registry's own words, with a body in the form
// of the OCI distribution specification, or no registry's answer at all. A proxy's page does not
// suffice to delete what depends on it.
func SaysAbsent(err error) bool {
	var e *RegistryError
	return errors.Is(err, ErrNotFound) && (!errors.As(err, &e) || e.Errors != nil)
}

// SaysNotFound reports whether a registry's answer to the question for an object is ErrNotFound,
// whichever end has asked. proven says that the answer is the registry's own, whatever its body:
// the repository has handed out or taken a manifest, or the answer has no body.
func SaysNotFound(e *RegistryError, proven bool) bool {
	return e.Status == http.StatusNotFound && !e.TokenService && !AboutAccess(e) && (proven || e.Errors != nil)
}

// SaysNameUnknown reports whether err is a registry's 404 for a repository that it does not know,
// and not for a question that it does not know. Distribution 3 says so of one without tags when
// these are to be listed.
func SaysNameUnknown(err error) bool {
	var e *RegistryError
	return errors.As(err, &e) && e.Status == http.StatusNotFound && !e.TokenService &&
		slices.ContainsFunc(e.Errors, func(d RegistryErrorDetail) bool { return d.Code == "NAME_UNKNOWN" })
}

// A MismatchError says that what came as a manifest or list has another digest than it should have.
type MismatchError struct {
	Where         string // it came from
	Found, Wanted digest.Digest
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: the manifest has digest %s, not %s", e.Where, e.Found, e.Wanted)
}

// A Document is a manifest or a list as bytes. That of an end has its digest, which is valid and
// verified, as manifest.Digest computes it. Its MediaType is what it is, and Misdeclared the media
// type that came with it, without parameters, if that is another one.
type Document = manifest.Document

// NewDocument returns the document that was read as content, which has digest d, and came with the
// media type declared. A document that does not say what it is has the declared type, whatever that
// is.
func NewDocument(d digest.Digest, declared string, content []byte) Document {
	doc := Document{Digest: d, MediaType: cmp.Or(manifest.TypeOf(content, declared), declared), Bytes: content}
	if declared != doc.MediaType {
		doc.Misdeclared = declared
	}
	return doc
}

// IsMisdeclared reports whether an end declares doc to be something else than it is. What Docker
// schema 1 manifests are declared to be does not matter to anybody.
func IsMisdeclared(doc Document) bool {
	switch doc.MediaType {
	case manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed:
		return false
	}
	return doc.Misdeclared != ""
}

// A Blob names a layer or a config.
type Blob struct {
	Digest    digest.Digest // validated
	Size      int64         // as the manifest states it; -1 if unknown
	MediaType string        // as the manifest states it, possibly ""
	Config    bool          // a config, not a layer: some transports store it in another place
}

// BlobsOf returns the distinct blobs of an image, the config first; none of nil.
func BlobsOf(image *manifest.Image) []Blob {
	if image == nil {
		return nil
	}
	var blobs []Blob
	for b := range image.Blobs() {
		blobs = append(blobs, Blob{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType, Config: len(blobs) == 0})
	}
	return blobs
}

// PlacesOf returns the distinct blobs of an image that have to be where its manifest is, the config
// first, and those that stay elsewhere: layers with URLs, unless another layer without is the same,
// or the config is. There are none of nil.
func PlacesOf(image *manifest.Image) (here, elsewhere []Blob) {
	if image == nil {
		return nil, nil
	}
	needed := map[digest.Digest]bool{image.Config.Digest: true}
	for _, layer := range image.Layers {
		if len(layer.URLs) == 0 {
			needed[layer.Digest] = true
		}
	}
	for _, b := range BlobsOf(image) {
		if needed[b.Digest] {
			here = append(here, b)
		} else {
			elsewhere = append(elsewhere, b)
		}
	}
	return here, elsewhere
}

// An Opener starts reading a blob from its first byte. It may be called any number of times, also
// while an earlier reader is open; whoever calls it closes what it returns. The reader verifies: it
// never hands out the last byte of content that does not match the blob's digest and size, but
// fails instead.
type Opener func(ctx context.Context) (io.ReadCloser, error)

// An AttachableSignature is a signature as a sigstore attachment holds it, the image that the tag
// sha256-<hex>.sig of what is signed names.
type AttachableSignature struct {
	Layer   imgspecv1.Descriptor // media type, digest and size of the payload, and annotations
	Payload []byte
}

// Signatures are the signatures of one manifest or list, of every format that containers/image
// knows.
type Signatures interface {
	// Len is the number of signatures.
	Len() int
	// Split returns those that sigstore attachments hold, and the others.
	Split() (attachable []AttachableSignature, others Signatures)
	// Simple returns those in the simple signing format, as they are.
	Simple() [][]byte
	// With returns the signatures and those of others that are not among them. Both must come from
	// this package; nil stands for none.
	With(others Signatures) Signatures
	// Contain reports whether each of others is among them.
	Contain(others Signatures) bool
	// Put stores the signatures at dest for the manifest with digest d, or for the primary manifest
	// that dest has written if d is nil. It replaces nothing that dest would not replace itself.
	Put(ctx context.Context, dest types.ImageDestination, d *digest.Digest) error
}

// Source is the end that a copy reads from. What the reference names is resolved once, when the
// source is opened; everything later is read by digest. All methods but Close may run concurrently.
type Source interface {
	// Reference is the reference as the caller gave it: the identity that a signature policy
	// judges.
	Reference() types.ImageReference

	// Top is what the reference named when the source was opened.
	Top() Document

	// Manifest reads the manifest or list with digest d (of at most 4 MiB) and verifies it. The
	// reference names d, or what the source has handed out does.
	// An error that wraps ErrNotFound says that the source definitely does not have it.
	Manifest(ctx context.Context, d digest.Digest) (Document, error)

	// Blob starts reading b. The content is not verified: engine code wraps it (see Opener). The
	// reader resumes or fails by itself when the connection breaks; it never ends early without an
	// error.
	Blob(ctx context.Context, b Blob) (io.ReadCloser, error)

	// Signatures reads the signatures of the manifest or list with digest d; none is no error.
	// Calls for the same digest read once.
	Signatures(ctx context.Context, d digest.Digest) (Signatures, error)

	// Unparsed is doc as an image that a signature policy can judge: its bytes are doc's, its
	// reference is the source's, its signatures are read through Signatures when the policy asks
	// for them.
	Unparsed(doc Document) types.UnparsedImage

	// Close releases what the source holds. The readers of Blob must be closed before.
	Close() error
}

// A Keeper is a Source that may keep what it has handed out, and return it from Manifest later,
// without asking whether it is there still.
type Keeper interface {
	// PresentManifest is Manifest for what the source has now.
	PresentManifest(ctx context.Context, d digest.Digest) (Document, error)
	// Kept reports whether PresentManifest has returned what was kept for d.
	Kept(d digest.Digest) bool
	// HeldBlob is Blob for what is read into memory, and of which only the bytes matter: it may be
	// one that is kept, and is kept if it is small.
	HeldBlob(ctx context.Context, b Blob) (io.ReadCloser, error)
}

// ReadPresent returns what reads the manifests and lists that src has now. Source.Manifest is for
// those of which only the bytes matter.
func ReadPresent(src Source) func(ctx context.Context, d digest.Digest) (Document, error) {
	if k, ok := src.(Keeper); ok {
		return k.PresentManifest
	}
	return src.Manifest
}

// ReadHeld returns what reads blobs of src into memory, of which only the bytes matter.
func ReadHeld(src Source) func(ctx context.Context, b Blob) (io.ReadCloser, error) {
	if k, ok := src.(Keeper); ok {
		return k.HeldBlob
	}
	return src.Blob
}

// ReadUnverified reads a blob that is small enough to be held, and one byte more than it should
// have, if there is one. Whoever wants it verifies it.
func ReadUnverified(ctx context.Context, src Source, b Blob) ([]byte, error) {
	content, err := src.Blob(ctx, b)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(io.LimitReader(content, b.Size+1))
}

// An Announcement is what a registry says about sparse lists, in the headers of its answer to GET
// /v2/ or in its capabilities. The zero value says nothing.
type Announcement struct {
	// SparseManifests is the value of X-Sparse-Manifest-Support, "" if absent.
	SparseManifests string
	// RequiredArchitectures is the value of X-Required-Architectures, "" if absent.
	RequiredArchitectures string
	// RequiredPlatforms is the value of X-Required-Platforms, "" if absent.
	RequiredPlatforms string
	// RequiredWithoutPlatform is the value of X-Required-Without-Platform, "" if absent.
	RequiredWithoutPlatform string
	// Widening is the value of X-Sparse-Manifest-Widening, "" if absent.
	Widening string
}

// PutResult says what became of a blob.
type PutResult struct {
	// Reused is set if the blob was there already, or was mounted from another repository: no
	// content was sent.
	Reused bool
}

// Destination is the end that a copy writes to. All methods but PutTop and Close may run
// concurrently. Nothing that the reference names changes before PutTop.
type Destination interface {
	// Reference is the reference as the caller gave it.
	Reference() types.ImageReference

	// Top is the digest of what the reference names at the destination itself (never at a mirror)
	// now. If it names nothing, or the destination cannot tell, the error wraps ErrNotFound.
	Top(ctx context.Context) (digest.Digest, error)

	// HasManifest reports whether the manifest or list with digest d is at the destination itself.
	HasManifest(ctx context.Context, d digest.Digest) (bool, error)

	// HasBlob reports whether b is at the destination itself.
	HasBlob(ctx context.Context, b Blob) (bool, error)

	// PutBlob stores b unless it is there already. open is called only when content is needed, and
	// again for each retry.
	PutBlob(ctx context.Context, b Blob, open Opener) (PutResult, error)

	// PutManifest stores a child by its digest. Everything that it names must be there already.
	PutManifest(ctx context.Context, doc Document) error

	// PutSignatures stores signatures of the child with digest d, which must have been stored.
	PutSignatures(ctx context.Context, d digest.Digest, sigs Signatures) error

	// PutTop makes the reference name doc, with sigs (nil for none) stored before anybody can see
	// the new tag where the transport has such an order. It commits: content of a destination that
	// never saw PutTop may be lost. On error the reference names what it named before, and PutTop
	// may be called again with another document.
	PutTop(ctx context.Context, doc Document, sigs Signatures) error

	// Close releases what the destination holds.
	Close() error
}

// A Rereader is a Destination that can hand out what it has.
type Rereader interface {
	// Manifest reads the manifest or list with digest d at the destination itself (never at a
	// mirror), and verifies it. An error that wraps ErrNotFound says that it definitely is not
	// there, or that nothing can be read back. It may run concurrently with the methods of
	// Destination.
	Manifest(ctx context.Context, d digest.Digest) (Document, error)
}
