package original

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Kind says how a signature is attached to an original.
type Kind string

// The kinds of signatures.
const (
	// TagSignature is what cosign's tag with the suffix .sig names.
	TagSignature Kind = "sig"
	// TagAttestation is what cosign's tag with the suffix .att names.
	TagAttestation Kind = "att"
	// Referrer is a referrer.
	Referrer Kind = "referrer"
	// Lookaside is a signature that containers/image keeps apart from the registry's manifests.
	Lookaside Kind = "lookaside"
)

// A Signature is what signs an original, with all that it consists of.
type Signature struct {
	// Of is the digest of the original.
	Of   digest.Digest
	Kind Kind
	// Document is the manifest, of a single image, and Blobs are its config and layers. Zero and
	// nil for Lookaside.
	Document manifest.Document
	Blobs    map[digest.Digest][]byte
	// Blob is the signature in containers/image's own form. Nil unless Lookaside.
	Blob []byte
}

// Digest returns that of the signature's manifest, or of the blob.
func (s *Signature) Digest() digest.Digest {
	if s.Kind == Lookaside {
		return digest.FromBytes(s.Blob)
	}
	return s.Document.Digest
}

// lookasideBlob is the media type of a signature in containers/image's own form.
const lookasideBlob = "application/octet-stream"

// OfSignature returns the artifact that carries a signature. stripped describes the list that it
// belongs to. The error is that of Validate.
func OfSignature(stripped imgspecv1.Descriptor, s Signature) (Artifact, error) {
	contents, err := s.contents()
	if err != nil {
		return Artifact{}, err
	}
	var layers []Part
	for _, c := range contents {
		layers = append(layers, layerOf(PartType, c.mediaType, c.digest, c.bytes))
	}
	annotations := map[string]string{ListAnnotation: s.Of.String(), KindAnnotation: string(s.Kind)}
	return assemble(SignatureArtifactType, stripped, empty(), layers, annotations), nil
}

// Validate returns nil if OfSignature takes the signature: it says of what it is, all that its
// manifest names is there and nothing else, all of it is what it is said to be, and no larger than
// MaxPart and MaxSignature. The error is an *Error.
func (s *Signature) Validate() error {
	_, err := s.contents()
	return err
}

func (s *Signature) fail(err error, reason string) error {
	return &Error{"signature", s.Digest(), reason, err}
}

// contents returns what the signature consists of, its manifest first. All of it is verified.
func (s *Signature) contents() ([]content, error) {
	if err := s.Of.Validate(); err != nil {
		return nil, s.fail(ErrMalformed, fmt.Sprintf("digest of the original %q: %v", s.Of, err))
	}
	if s.Kind == Lookaside {
		return s.lookaside()
	}
	doc := s.Document
	if !manifest.HasDigest(doc.Bytes, doc.Digest) {
		return nil, s.fail(ErrAltered, "its manifest has another digest")
	}
	blobs, err := s.ToRead()
	if err != nil {
		return nil, err
	}
	contents := []content{{doc.Digest, doc.Type(), doc.Bytes}}
	for _, b := range blobs {
		blob, ok := s.Blobs[b.Digest]
		switch {
		case !ok:
			return nil, s.fail(ErrMalformed, fmt.Sprintf("blob %s is not there", b.Digest))
		case int64(len(blob)) != b.Size || !manifest.HasDigest(blob, b.Digest):
			return nil, s.fail(ErrAltered, fmt.Sprintf("blob %s has other content", b.Digest))
		}
		contents = append(contents, content{b.Digest, b.MediaType, blob})
	}
	if len(blobs) != len(s.Blobs) {
		return nil, s.fail(ErrMalformed, fmt.Sprintf("it has %d blobs, and its manifest names %d", len(s.Blobs), len(blobs)))
	}
	return contents, nil
}

// lookaside is contents for that kind.
func (s *Signature) lookaside() ([]content, error) {
	switch {
	case len(s.Blob) == 0:
		return nil, s.fail(ErrMalformed, "the signature is empty")
	case len(s.Blob) > MaxPart:
		return nil, s.fail(ErrTooLarge, fmt.Sprintf("it has %d bytes, more than %d", len(s.Blob), MaxPart))
	}
	return []content{{s.Digest(), lookasideBlob, s.Blob}}, nil
}

// ToRead returns the distinct blobs that the manifest names, the config first, without a look at
// Blobs; none for Lookaside. The error is an *Error, if they are not to be read: the manifest is
// none of a single image, or they are larger than MaxPart and MaxSignature allow.
func (s *Signature) ToRead() ([]manifest.Descriptor, error) {
	switch s.Kind {
	case Lookaside:
		return nil, nil
	case TagSignature, TagAttestation, Referrer:
	default:
		return nil, s.fail(ErrMalformed, fmt.Sprintf("unknown kind of signature %q", s.Kind))
	}
	image, err := manifest.ParseImage(s.Document.Bytes, s.Document.Type())
	if err != nil {
		return nil, s.fail(ErrMalformed, err.Error())
	}
	blobs, all := slices.Collect(image.Blobs()), int64(len(s.Document.Bytes))
	for _, b := range blobs {
		if b.Size > MaxPart {
			return nil, s.fail(ErrTooLarge, fmt.Sprintf("blob %s has %d bytes, more than %d", b.Digest, b.Size, MaxPart))
		}
		if all += b.Size; all > MaxSignature {
			return nil, s.fail(ErrTooLarge, fmt.Sprintf("it has more than %d bytes", MaxSignature))
		}
	}
	return blobs, nil
}

// ReadSignature takes an artifact with a signature apart, in either form. blob is that of Read, and
// so is the error.
func ReadSignature(doc manifest.Document, blob func(imgspecv1.Descriptor) ([]byte, error)) (Signature, error) {
	o, err := open(doc, RoleSignature, limits{each: MaxPart, all: MaxSignature}, blob)
	if err != nil {
		return Signature{}, err
	}
	s := Signature{Of: digest.Digest(o.image.Annotations[ListAnnotation]), Kind: Kind(o.image.Annotations[KindAnnotation])}
	first := o.contents[0]
	if s.Kind == Lookaside {
		if len(o.contents) > 1 {
			return Signature{}, o.fail(ErrMalformed, "it has more than one layer")
		}
		s.Blob = first.bytes
	} else {
		s.Document = manifest.Document{Digest: first.digest, MediaType: first.mediaType, Bytes: first.bytes}
		s.Blobs = map[digest.Digest][]byte{}
		for _, c := range o.contents[1:] {
			s.Blobs[c.digest] = c.bytes
		}
	}
	if err := s.Validate(); err != nil {
		return Signature{}, err
	}
	return s, nil
}
