package manifest

import (
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Removal says what a stripped list lacks of its original. What it points to is not to be
// modified.
type Removal struct {
	// Entries is the number of entries of the original, without those of nested lists.
	Entries int `json:"entries"`
	// Removed are the entries that were removed, in the order of the original.
	Removed []RemovedEntry `json:"removed,omitempty"`
	// Nested are the entries that remain and name a nested list from which something was removed,
	// in the order of the original.
	Nested []NestedRemoval `json:"nested,omitempty"`
	// Ambiguous is set if another removal explains the same bytes, from this list or from one that
	// is nested in it. Removed and Nested then are of the one that keeps the earliest entries.
	Ambiguous bool `json:"ambiguous,omitempty"`
}

// A RemovedEntry is an entry of the original that the stripped list does not have.
type RemovedEntry struct {
	Index         int                 `json:"index"` // position in the original, from 0
	Digest        digest.Digest       `json:"digest"`
	MediaType     string              `json:"mediaType,omitempty"`
	ArtifactType  string              `json:"artifactType,omitempty"`
	Platform      *imgspecv1.Platform `json:"platform,omitempty"`
	AttestationOf digest.Digest       `json:"attestationOf,omitempty"` // as Instance.AttestationOf
}

// A NestedRemoval is what was removed from a list that an entry of the original names.
type NestedRemoval struct {
	Index    int           `json:"index"` // position of the entry in the original, from 0
	Original digest.Digest `json:"original"`
	Stripped digest.Digest `json:"stripped"`
	Removal
}

// Count returns the number of entries that were removed, from nested lists as well. Those of a
// nested list that was removed as a whole do not count.
func (r Removal) Count() int {
	n := len(r.Removed)
	for _, nested := range r.Nested {
		n += nested.Count()
	}
	return n
}

// removedEntry returns the entry e of the original, which is at index.
func removedEntry(index int, e entry) RemovedEntry {
	attestationOf, _ := e.instance(index).AttestationOf()
	return RemovedEntry{
		Index: index, Digest: e.desc.Digest, MediaType: e.desc.MediaType, ArtifactType: e.desc.ArtifactType,
		Platform: e.desc.Platform, AttestationOf: attestationOf,
	}
}
