package manifest

import "github.com/opencontainers/go-digest"

// An OCI1Index is a list in OCI's format (image-spec v1.1, "OCI Image Index Specification"). Its
// zero value is of no use.
type OCI1Index struct{ core }

var _ List = (*OCI1Index)(nil)

// MediaType is imgspecv1.MediaTypeImageIndex, also if the document does not state it.
func (l *OCI1Index) MediaType() string { return l.mediaType }

// ArtifactType is the type of the artifact that the index is; see List.
func (l *OCI1Index) ArtifactType() string { return l.artifactType }

// Subject is the digest of the manifest that the index refers to; see List.
func (l *OCI1Index) Subject() digest.Digest { return l.subject }

// Annotations are those of the index; see List.
func (l *OCI1Index) Annotations() map[string]string { return l.annotations }

// Clone returns an index that can be edited independently.
func (l *OCI1Index) Clone() List {
	c := *l
	return &c
}

// EditInstances applies edits in the order given; see List.
func (l *OCI1Index) EditInstances(edits []ListEdit) error {
	return l.edit(edits, func(ListEdit) string { return "" })
}

func (l *OCI1Index) sealed() *core { return &l.core }
