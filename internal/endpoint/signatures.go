package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
)

// containers/image keeps the type of its signatures in an internal package. It cannot be named
// here, but it can be inferred from the signature of an exported method: every S below is that
// type.

// readMethod is the method that S is inferred from.
var readMethod = (*image.UnparsedImage).UntrustedSignatures

// ReadSignatures reads the signatures that src has for the manifest or list with digest *d, or, if
// d is nil, for the one that the reference of src names. All formats are read. None is no error.
//
// Some transports (dir:) keep the signatures of what the reference names under nil only.
func ReadSignatures(ctx context.Context, src types.ImageSource, d *digest.Digest) (Signatures, error) {
	return readSignatures(ctx, image.UnparsedInstance(src, d), readMethod)
}

func readSignatures[S any](ctx context.Context, u *image.UnparsedImage,
	read func(*image.UnparsedImage, context.Context) ([]S, error),
) (Signatures, error) {
	all, err := read(u, ctx)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return &signatures[S]{}, nil
	}
	simple, err := u.Signatures(ctx) // of those just read, which u holds: no second download
	if err != nil {
		return nil, err
	}
	return &signatures[S]{all: all, simple: simple}, nil
}

// AttachedSignatures returns signatures as a sigstore attachment has them.
func AttachedSignatures(ctx context.Context, attached []AttachableSignature) (Signatures, error) {
	blobs := make([][]byte, len(attached))
	for i, sig := range attached {
		var err error
		if blobs[i], err = sig.Blob(); err != nil {
			return nil, err
		}
	}
	return SignaturesFromBlobs(ctx, blobs)
}

// Blob returns the signature in the form of SignatureBlobs.
func (s *AttachableSignature) Blob() ([]byte, error) {
	content, err := json.Marshal(struct {
		MIMEType    string            `json:"mimeType"`
		Payload     []byte            `json:"payload"`
		Annotations map[string]string `json:"annotations"`
	}{s.Layer.MediaType, s.Payload, s.Layer.Annotations})
	return append([]byte("\x00sigstore-json\n"), content...), err
}

// SignatureBlobs returns signatures in the form that containers/image has for files (dir:, and
// lookaside stores): simple signatures as they are, and others behind the name of their format.
func SignatureBlobs(sigs Signatures) ([][]byte, error) {
	attachable, others := sigs.Split()
	blobs := slices.Clone(others.Simple())
	for _, sig := range attachable {
		blob, err := sig.Blob()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, blob)
	}
	return blobs, nil
}

// SignaturesFromBlobs returns signatures that SignatureBlobs has made, or others in that form. They
// pass through the files of a directory (dir:): that is a public way to the type. An error is one
// about these files, or says that a blob is no signature.
func SignaturesFromBlobs(ctx context.Context, blobs [][]byte) (_ Signatures, err error) {
	dir, err := os.MkdirTemp("", "sparsecopy-signatures-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for i, blob := range blobs {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("signature-%d", i+1)), blob, 0o600); err != nil {
			return nil, err
		}
	}
	ref, err := directory.NewReference(dir)
	if err != nil {
		return nil, err
	}
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return ReadSignatures(ctx, src, nil)
}

// NoSignatures returns an empty set, for ends that know that there are no signatures.
func NoSignatures() Signatures {
	return noSignatures(readMethod)
}

func noSignatures[S any](func(*image.UnparsedImage, context.Context) ([]S, error)) Signatures {
	return &signatures[S]{}
}

// signatures implements Signatures. It does not change after it was made.
type signatures[S any] struct {
	all    []S
	simple [][]byte // those of all that are in the simple signing format
}

func (s *signatures[S]) Len() int { return len(s.all) }

// Split implements Signatures.
func (s *signatures[S]) Split() ([]AttachableSignature, Signatures) {
	var attachable []AttachableSignature
	others := &signatures[S]{simple: s.simple}
	for _, sig := range s.all {
		a, ok := any(sig).(interface {
			UntrustedMIMEType() string
			UntrustedPayload() []byte
			UntrustedAnnotations() map[string]string
		})
		if !ok {
			others.all = append(others.all, sig)
			continue
		}
		payload := a.UntrustedPayload()
		attachable = append(attachable, AttachableSignature{Payload: payload, Layer: imgspecv1.Descriptor{
			MediaType: a.UntrustedMIMEType(), Digest: digest.FromBytes(payload), Size: int64(len(payload)),
			Annotations: a.UntrustedAnnotations(),
		}})
	}
	return attachable, others
}

// Simple implements Signatures.
func (s *signatures[S]) Simple() [][]byte { return s.simple }

// With implements Signatures.
func (s *signatures[S]) With(others Signatures) Signatures {
	o, ok := others.(*signatures[S])
	if !ok {
		return s
	}
	out := &signatures[S]{all: slices.Clone(s.all), simple: slices.Clone(s.simple)}
	for _, sig := range o.all {
		if !out.has(sig) {
			out.all = append(out.all, sig)
		}
	}
	for _, sig := range o.simple {
		if !slices.ContainsFunc(s.simple, func(has []byte) bool { return bytes.Equal(has, sig) }) {
			out.simple = append(out.simple, sig)
		}
	}
	return out
}

// Contain implements Signatures.
func (s *signatures[S]) Contain(others Signatures) bool {
	o, ok := others.(*signatures[S])
	if !ok {
		return others.Len() == 0
	}
	return !slices.ContainsFunc(o.all, func(other S) bool { return !s.has(other) })
}

func (s *signatures[S]) has(other S) bool {
	return slices.ContainsFunc(s.all, func(sig S) bool { return reflect.DeepEqual(sig, other) })
}

// Put implements Signatures. A destination that is not one of containers/image's own may know the
// public PutSignatures only, which loses what is not in the simple signing format: such signatures
// are refused, with the name of the transport.
func (s *signatures[S]) Put(ctx context.Context, dest types.ImageDestination, d *digest.Digest) error {
	if len(s.all) == 0 {
		return nil
	}
	if formats, ok := dest.(interface {
		PutSignaturesWithFormat(context.Context, []S, *digest.Digest) error
	}); ok {
		return formats.PutSignaturesWithFormat(ctx, s.all, d)
	}
	if len(s.simple) < len(s.all) {
		return fmt.Errorf("storing signatures at %s: transport %q stores signatures in the simple signing format only",
			transports.ImageName(dest.Reference()), dest.Reference().Transport().Name())
	}
	return dest.PutSignatures(ctx, s.simple, d)
}

// Unparsed is doc as an image that a signature policy can judge; see LazyUnparsed.
func Unparsed(ref types.ImageReference, doc Document, fetch func(context.Context) (Signatures, error)) types.UnparsedImage {
	return LazyUnparsed(ref, func(context.Context) (Document, error) { return doc, nil }, fetch)
}

// LazyUnparsed is an image that a signature policy can judge. Its reference, the identity that is
// judged, is ref. Its bytes and media type are what manifest returns, its signatures what fetch
// returns, which must come from ReadSignatures or NoSignatures. Each is called when the policy asks
// for the first time, and again only after it failed. The methods may run concurrently.
func LazyUnparsed(ref types.ImageReference, manifest func(context.Context) (Document, error),
	fetch func(context.Context) (Signatures, error),
) types.UnparsedImage {
	return newUnparsed(ref, manifest, fetch, readMethod)
}

func newUnparsed[S any](ref types.ImageReference, manifest func(context.Context) (Document, error),
	fetch func(context.Context) (Signatures, error), _ func(*image.UnparsedImage, context.Context) ([]S, error),
) types.UnparsedImage {
	return &unparsed[S]{ref: ref, manifest: manifest, fetch: fetch}
}

// unparsed implements types.UnparsedImage and, with UntrustedSignatures, the interface that the
// policy engine asks for when it wants signatures of every format.
type unparsed[S any] struct {
	ref      types.ImageReference
	manifest func(context.Context) (Document, error)
	fetch    func(context.Context) (Signatures, error)

	mu   sync.Mutex
	doc  *Document      // nil until read; guarded by mu
	sigs *signatures[S] // nil until fetched; guarded by mu
}

func (u *unparsed[S]) Reference() types.ImageReference { return u.ref }

func (u *unparsed[S]) Manifest(ctx context.Context) ([]byte, string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.doc == nil {
		doc, err := u.manifest(ctx)
		if err != nil {
			return nil, "", err
		}
		u.doc = &doc
	}
	return u.doc.Bytes, u.doc.MediaType, nil
}

func (u *unparsed[S]) Signatures(ctx context.Context) ([][]byte, error) {
	sigs, err := u.load(ctx)
	if err != nil {
		return nil, err
	}
	return sigs.simple, nil
}

// UntrustedSignatures returns the signatures of every format.
func (u *unparsed[S]) UntrustedSignatures(ctx context.Context) ([]S, error) {
	sigs, err := u.load(ctx)
	if err != nil {
		return nil, err
	}
	return sigs.all, nil
}

func (u *unparsed[S]) load(ctx context.Context) (*signatures[S], error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sigs != nil {
		return u.sigs, nil
	}
	fetched, err := u.fetch(ctx)
	if err != nil {
		return nil, err
	}
	sigs, ok := fetched.(*signatures[S])
	if !ok {
		return nil, fmt.Errorf("signatures of %s have the unexpected type %T", transports.ImageName(u.ref), fetched)
	}
	u.sigs = sigs
	return sigs, nil
}
