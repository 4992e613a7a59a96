package original

import (
	"cmp"
	"encoding/json"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Types of artifacts, and of their layers. No layer has the media type of the document in it: tools
// that follow manifests would look for that document by itself.
const (
	// ArtifactType is that of the artifact with the documents of an original.
	ArtifactType = "application/vnd.sparsecopy.original.v1"
	// DocumentType is the media type of its layers.
	DocumentType = "application/vnd.sparsecopy.original.document.v1"
	// SignatureArtifactType is that of an artifact with a signature of an original.
	SignatureArtifactType = "application/vnd.sparsecopy.original-signature.v1"
	// PartType is the media type of its layers.
	PartType = "application/vnd.sparsecopy.original-signature.part.v1"
)

// Annotations of artifacts, and of their layers.
const (
	// ListAnnotation is the digest of the original.
	ListAnnotation = "io.github.sparsecopy.original.digest"
	// ClaimAnnotation is the name of the repository that the original is said to be from.
	ClaimAnnotation = "io.github.sparsecopy.original.source"
	// KindAnnotation is the Kind of a signature.
	KindAnnotation = "io.github.sparsecopy.original.signature-kind"
	// MediaTypeAnnotation is the media type of what is in a layer.
	MediaTypeAnnotation = "io.github.sparsecopy.original.media-type"
	// TypeAnnotation is the artifact type of what is stored as a plain image.
	TypeAnnotation = "io.github.sparsecopy.original.artifact-type"
)

// A Part is a blob of an artifact.
type Part struct {
	Descriptor imgspecv1.Descriptor
	Content    []byte // never modified
}

// An Artifact is a finished image manifest, in OCI's format, with its blobs. Its subject is a
// stripped list. Of, OfSignature, Carry and Plain make them.
type Artifact struct {
	Document manifest.Document
	Config   Part
	Layers   []Part // at least one; no two have the same digest

	image imgspecv1.Manifest
}

// Descriptor returns what the artifact is listed as among the referrers of its subject, with its
// annotations (OCI distribution specification v1.1, "Listing Referrers").
func (a *Artifact) Descriptor() imgspecv1.Descriptor {
	return imgspecv1.Descriptor{
		MediaType: a.Document.MediaType, Digest: a.Document.Digest, Size: int64(len(a.Document.Bytes)),
		ArtifactType: cmp.Or(a.image.ArtifactType, a.image.Config.MediaType), Annotations: a.image.Annotations,
	}
}

// Parts returns the blobs: the config, and then the layers.
func (a *Artifact) Parts() []Part { return append([]Part{a.Config}, a.Layers...) }

// Subject returns the digest of the stripped list that the artifact belongs to.
func (a *Artifact) Subject() digest.Digest { return a.image.Subject.Digest }

// A Role is what a manifest is to a stripped list.
type Role string

// The roles.
const (
	RoleNone      Role = ""          // nothing of ours
	RoleOriginal  Role = "original"  // what Of makes, in either form
	RoleSignature Role = "signature" // what OfSignature makes, in either form
)

// KindOf returns what a referrer is by its artifact type and its annotations, as it is listed with
// or as its manifest has them. Where a manifest states no artifact type, the media type of its
// config or "" stands for it.
func KindOf(artifactType string, annotations map[string]string) Role {
	if artifactType == "" || artifactType == imgspecv1.MediaTypeImageConfig {
		artifactType = annotations[TypeAnnotation]
	}
	switch artifactType {
	case ArtifactType:
		return RoleOriginal
	case SignatureArtifactType:
		return RoleSignature
	}
	return RoleNone
}

// Carry returns an artifact of another type, whose subject is a stripped list: what somebody else
// says of that. There is at least one layer, and no two have the same digest. KindOf does not know
// it.
func Carry(artifactType string, stripped imgspecv1.Descriptor, layers []Part, annotations map[string]string) Artifact {
	return assemble(artifactType, stripped, empty(), layers, annotations)
}

// assemble makes an artifact, or a plain image if artifactType is "".
func assemble(artifactType string, subject imgspecv1.Descriptor, config Part, layers []Part, annotations map[string]string) Artifact {
	a := Artifact{Config: config, Layers: layers, image: imgspecv1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspecv1.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: config.Descriptor, Annotations: annotations,
		Subject: &imgspecv1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
	}}
	for _, layer := range layers {
		a.image.Layers = append(a.image.Layers, layer.Descriptor)
	}
	content := marshal(a.image)
	a.Document = manifest.Document{Digest: digest.FromBytes(content), MediaType: a.image.MediaType, Bytes: content}
	return a
}

// empty returns the config of artifacts: the empty descriptor of image-spec v1.1, "Guidance for an
// Empty Descriptor".
func empty() Part { return part(imgspecv1.MediaTypeEmptyJSON, "", []byte("{}")) }

// part returns content as a blob. d is its digest; "" means that of sha256.
func part(mediaType string, d digest.Digest, content []byte) Part {
	d = cmp.Or(d, digest.FromBytes(content))
	return Part{imgspecv1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}, content}
}

// layerOf returns content, whose media type is holds, as a layer.
func layerOf(mediaType, holds string, d digest.Digest, content []byte) Part {
	p := part(mediaType, d, content)
	p.Descriptor.Annotations = map[string]string{MediaTypeAnnotation: holds}
	return p
}

// marshal writes what always can be written.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and maps of strings
	}
	return b
}
