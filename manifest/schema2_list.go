package manifest

import "github.com/opencontainers/go-digest"

// A Schema2List is a list in Docker's format (distribution's "Image Manifest Version 2, Schema 2",
// section "Manifest List"). Its zero value is of no use.
type Schema2List struct{ core }

var _ List = (*Schema2List)(nil)

// MediaType is MediaTypeDockerList.
func (l *Schema2List) MediaType() string { return l.mediaType }

// ArtifactType is "": the format has none.
func (l *Schema2List) ArtifactType() string { return "" }

// Subject is "": the format has none.
func (l *Schema2List) Subject() digest.Digest { return "" }

// Annotations is nil: the format has none.
func (l *Schema2List) Annotations() map[string]string { return nil }

// Clone returns a list that can be edited independently.
func (l *Schema2List) Clone() List {
	c := *l
	return &c
}

// EditInstances applies edits in the order given; see List. An entry that is added must have a
// platform and cannot have an artifact type or annotations, for which the format has no fields.
func (l *Schema2List) EditInstances(edits []ListEdit) error {
	return l.edit(edits, schema2Reason)
}

// schema2Reason says why an entry of a Docker list cannot be added or updated so, or "".
func schema2Reason(e ListEdit) string {
	adds := e.ListOperation == ListOpAdd
	switch {
	case !adds && len(e.UpdateAnnotations) > 0, adds && len(e.AddAnnotations) > 0:
		return "an entry of a Docker list cannot have annotations"
	case adds && e.AddPlatform == nil:
		return "an entry of a Docker list needs a platform"
	case adds && e.AddArtifactType != "":
		return "an entry of a Docker list cannot have an artifact type"
	}
	return ""
}

func (l *Schema2List) sealed() *core { return &l.core }
