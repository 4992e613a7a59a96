package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// instanceCopies is what prepareInstanceCopies decides about one list.
type instanceCopies struct {
	// copies are the distinct images to be copied, in the order in which the list first names them.
	// Nested lists are not among them: they are written when everything that they name is there.
	// Blobs are not, either: no manifest names them.
	copies []digest.Digest
	// deletes remove the entries of what is not copied, from the highest position to the lowest, so
	// that each names the position of its entry in the list as parsed. Empty unless entries are to
	// be stripped.
	deletes []manifest.ListEdit
}

// prepareInstanceCopies decides which instances of a list are copied and which entries are removed.
// copied says of each entry whether it is to be copied. If strip is not set, no entry is removed.
//
// An entry that is not copied is removed also if another entry with the same digest stays.
// A list that would lose its last entry is an *EmptyError.
func prepareInstanceCopies(instances []manifest.Instance, copied []bool, strip bool) (instanceCopies, error) {
	kept := 0
	for _, is := range copied {
		if is {
			kept++
		}
	}
	out := instanceCopies{copies: slices.Grow([]digest.Digest(nil), kept)}
	seen := make(map[digest.Digest]bool, kept)
	for i := range instances {
		if d := instances[i].Digest; copied[i] && !instances[i].IsList() && !instances[i].IsBlob() && !seen[d] {
			seen[d] = true
			out.copies = append(out.copies, d)
		}
	}
	switch {
	case !strip || kept == len(instances):
		return out, nil
	case kept == 0:
		return instanceCopies{}, &EmptyError{Entries: len(instances)}
	}
	out.deletes = make([]manifest.ListEdit, 0, len(instances)-kept)
	for i := len(instances) - 1; i >= 0; i-- {
		if !copied[i] {
			out.deletes = append(out.deletes, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
		}
	}
	return out, nil
}
