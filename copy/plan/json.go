package plan

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// editJSON is the JSON form of an edit in a plan.
type editJSON struct {
	Op    string `json:"op"` // as manifest.ListOp names it
	Index int    `json:"index"`
	// Of an update, "", 0 or nil for what stays as it is; of an add, for what the entry has not.
	Digest       digest.Digest       `json:"digest,omitempty"`
	Size         int64               `json:"size,omitempty"`
	MediaType    string              `json:"mediaType,omitempty"`
	ArtifactType string              `json:"artifactType,omitempty"`
	Platform     *imgspecv1.Platform `json:"platform,omitempty"`
	Annotations  map[string]string   `json:"annotations,omitempty"`
}

// formOf returns the JSON form of an edit.
func formOf(e manifest.ListEdit) (editJSON, error) {
	form := editJSON{Op: e.ListOperation.String()}
	switch e.ListOperation {
	case manifest.ListOpUpdate:
		form.Index, form.Digest, form.Size, form.MediaType, form.Annotations = e.UpdateIndex, e.UpdateDigest, e.UpdateSize, e.UpdateMediaType, e.UpdateAnnotations
	case manifest.ListOpDelete:
		form.Index = e.DeleteIndex
	case manifest.ListOpAdd:
		form.Digest, form.Size, form.MediaType, form.Annotations = e.AddDigest, e.AddSize, e.AddMediaType, e.AddAnnotations
		form.ArtifactType, form.Platform = e.AddArtifactType, e.AddPlatform
	case manifest.ListOpMove:
		form.Index = e.MoveIndex
	default:
		return form, fmt.Errorf("plan has an edit with the operation %s", e.ListOperation)
	}
	return form, nil
}

// edit returns the edit that the form is of.
func (f editJSON) edit() (manifest.ListEdit, error) {
	switch f.Op {
	case manifest.ListOpUpdate.String():
		return manifest.ListEdit{
			ListOperation: manifest.ListOpUpdate, UpdateIndex: f.Index, UpdateDigest: f.Digest, UpdateSize: f.Size,
			UpdateMediaType: f.MediaType, UpdateAnnotations: f.Annotations,
		}, nil
	case manifest.ListOpDelete.String():
		return manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: f.Index}, nil
	case manifest.ListOpAdd.String():
		return manifest.ListEdit{
			ListOperation: manifest.ListOpAdd, AddDigest: f.Digest, AddSize: f.Size, AddMediaType: f.MediaType,
			AddArtifactType: f.ArtifactType, AddPlatform: f.Platform, AddAnnotations: f.Annotations,
		}, nil
	case manifest.ListOpMove.String():
		return manifest.ListEdit{ListOperation: manifest.ListOpMove, MoveIndex: f.Index}, nil
	}
	return manifest.ListEdit{}, fmt.Errorf("plan has an edit with the operation %q", f.Op)
}

// plainList is a ListPlan without methods.
type plainList ListPlan

// listJSON is the JSON form of a ListPlan.
type listJSON struct {
	*plainList
	Edits []editJSON `json:"edits"`
}

// MarshalJSON adds the edits in their JSON form.
func (l *ListPlan) MarshalJSON() ([]byte, error) {
	edits := make([]editJSON, len(l.Edits))
	for i, e := range l.Edits {
		var err error
		if edits[i], err = formOf(e); err != nil {
			return nil, err
		}
	}
	return json.Marshal(listJSON{(*plainList)(l), edits})
}

// UnmarshalJSON reads what MarshalJSON writes. The plan can be looked at and printed, but it has no
// document to write.
func (l *ListPlan) UnmarshalJSON(b []byte) error {
	in := listJSON{plainList: (*plainList)(l)}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	l.Edits = nil
	for _, form := range in.Edits {
		e, err := form.edit()
		if err != nil {
			return err
		}
		l.Edits = append(l.Edits, e)
	}
	return nil
}
