package original

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what is read. A document may have manifest.MaxSize bytes.
const (
	// MaxDocuments is how many an original may have.
	MaxDocuments = 1000
	// MaxBytes is what all documents of an original may have: as much as a tree of lists.
	MaxBytes = 64 << 20
	// MaxPart is what each blob of a signature may have, and its manifest.
	MaxPart = 4 << 20
	// MaxSignature is what all of a signature may have.
	MaxSignature = 32 << 20
)

// An Original is a list as its publisher has it, with the lists that are nested in it.
type Original struct {
	// Stripped is the list that the artifact belongs to.
	Stripped digest.Digest
	// Documents are the list itself, and then the distinct lists nested in it. At least one; their
	// digests are those of their bytes.
	Documents []manifest.Document
	// Claim is the repository that it is said to be from; "" for none. Whoever has written the
	// artifact says so, and nobody else.
	Claim string
	// Plain is set if the artifact is stored as a plain image.
	Plain bool
}

// Top returns the list itself.
func (o *Original) Top() manifest.Document { return o.Documents[0] }

// Document returns the document with the digest d, and whether there is one.
func (o *Original) Document(d digest.Digest) (manifest.Document, bool) {
	for _, doc := range o.Documents {
		if doc.Digest == d {
			return doc, true
		}
	}
	return manifest.Document{}, false
}

// Of returns the artifact that carries an original. stripped describes the list that it belongs to.
// documents are the list as it is at the source, and then the lists nested in it, in an order that
// depends on the list alone; one that occurs again is left out. There is at least one, and no more
// than MaxDocuments; each has at most manifest.MaxSize bytes, and all have MaxBytes. claim is the
// name of the source's repository without a tag, or "".
func Of(stripped imgspecv1.Descriptor, documents []manifest.Document, claim string) Artifact {
	var layers []Part
	seen := map[digest.Digest]bool{}
	for _, doc := range documents {
		layer := layerOf(DocumentType, doc.Type(), doc.Digest, doc.Bytes)
		if d := layer.Descriptor.Digest; !seen[d] {
			seen[d] = true
			layers = append(layers, layer)
		}
	}
	annotations := map[string]string{ListAnnotation: layers[0].Descriptor.Digest.String()}
	if claim != "" {
		annotations[ClaimAnnotation] = claim
	}
	return assemble(ArtifactType, stripped, empty(), layers, annotations)
}

// Read takes an artifact with an original apart, in either form. blob returns the blob that a
// descriptor names; it need not verify it. The error is an *Error, which wraps what blob returned.
func Read(doc manifest.Document, blob func(imgspecv1.Descriptor) ([]byte, error)) (Original, error) {
	r, err := open(doc, RoleOriginal, limits{each: manifest.MaxSize, all: MaxBytes}, blob)
	if err != nil {
		return Original{}, err
	}
	out := Original{Stripped: r.image.Subject, Claim: r.image.Annotations[ClaimAnnotation], Plain: r.plain}
	for _, c := range r.contents {
		out.Documents = append(out.Documents, manifest.Document{Digest: c.digest, MediaType: c.mediaType, Bytes: c.bytes}.Read())
	}
	if top := out.Top().Digest; top.String() != r.image.Annotations[ListAnnotation] {
		return Original{}, r.fail(ErrMalformed, fmt.Sprintf("it has the list %s, and says that it has %s",
			top, cmp.Or(r.image.Annotations[ListAnnotation], "none")))
	}
	return out, nil
}
