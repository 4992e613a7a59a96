package plan

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// editJSON is the JSON form of an edit in a plan.
type editJSON struct {
	Op     string        `json:"op"` // "update" or "delete"
	Index  int           `json:"index"`
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	// MediaType is that of an update, "" if it stays as it is.
	MediaType string `json:"mediaType,omitempty"`
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
		switch e.ListOperation {
		case manifest.ListOpDelete:
			edits[i] = editJSON{Op: "delete", Index: e.DeleteIndex}
		case manifest.ListOpUpdate:
			edits[i] = editJSON{Op: "update", Index: e.UpdateIndex, Digest: e.UpdateDigest, Size: e.UpdateSize, MediaType: e.UpdateMediaType}
		default:
			return nil, fmt.Errorf("plan has an edit with the operation %s", e.ListOperation)
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
	for _, e := range in.Edits {
		switch e.Op {
		case "delete":
			l.Edits = append(l.Edits, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: e.Index})
		case "update":
			l.Edits = append(l.Edits, manifest.ListEdit{
				ListOperation: manifest.ListOpUpdate, UpdateIndex: e.Index, UpdateDigest: e.Digest, UpdateSize: e.Size, UpdateMediaType: e.MediaType,
			})
		default:
			return fmt.Errorf("plan has an edit with the operation %q", e.Op)
		}
	}
	return nil
}
