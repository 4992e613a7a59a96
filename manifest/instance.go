package manifest

import (
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations by which BuildKit marks an attestation and names its subject (BuildKit's
// documentation, "Image attestation storage").
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	referenceTypeAttestation  = "attestation-manifest"
)

// Annotations of entries that others go by.
const (
	// AnnotationZstd marks an image with zstd layers, which may have a twin without
	// (containers/image).
	AnnotationZstd = "io.github.containers.compression.zstd"
	// AnnotationSOCIImage stands on the entry of a SOCI index, version 2, and names the image that
	// the index is for; AnnotationSOCIIndex stands on the image, and names the index
	// (soci-snapshotter).
	AnnotationSOCIImage = "com.amazon.soci.image-manifest-digest"
	AnnotationSOCIIndex = "com.amazon.soci.index-digest"
)

// Annotations of entries whose images were transformed on their way to where the list is.
const (
	// AnnotationTransformedFrom has the digest of the image that another one was made of, and
	// AnnotationTransformedBy that of a description of what was done to it.
	AnnotationTransformedFrom = "io.github.sparsecopy.transformed.from"
	AnnotationTransformedBy   = "io.github.sparsecopy.transformed.by"
)

// decidingAnnotations are those by which it is decided what an entry is.
var decidingAnnotations = []string{
	annotationReferenceType, annotationReferenceDigest, AnnotationZstd, AnnotationSOCIImage, AnnotationSOCIIndex,
}

// An Instance is one entry of a list, whatever the list's format. It is a view: changing it changes
// no list. What it points to is shared with the list and must not be modified.
type Instance struct {
	Index        int           // position in the list, from 0
	Digest       digest.Digest // of the child; valid
	Size         int64         // of the child in bytes, as the list states it; never negative
	MediaType    string        // of the child, as the list states it; "" if it does not
	ArtifactType string        // "" if the list states none

	// Platform is nil if and only if the entry has none, or null. An empty object is a Platform
	// with empty fields.
	Platform *imgspecv1.Platform

	Annotations map[string]string // nil if the entry has none
	URLs        []string          // as the list states them, unchecked: strangers chose them
}

// IsList reports whether the child is a list itself, by the media type that the entry states.
func (i Instance) IsList() bool { return IsListMediaType(i.MediaType) }

// IsBlob reports whether the child is no manifest but a blob, by the media type that the entry
// states.
func (i Instance) IsBlob() bool { return IsBlobMediaType(i.MediaType) }

// AttestationOf reports whether the instance is an attestation, and returns its subject. BuildKit's
// annotations decide, not the platform. The digest is valid, or "" for an attestation whose subject
// is not named by a valid digest, and so cannot be in the list.
func (i Instance) AttestationOf() (subject digest.Digest, ok bool) {
	if i.Annotations[annotationReferenceType] != referenceTypeAttestation {
		return "", false
	}
	subject = digest.Digest(i.Annotations[annotationReferenceDigest])
	if subject.Validate() != nil {
		return "", true
	}
	return subject, true
}
