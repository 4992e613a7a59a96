package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// A ListOp says what a ListEdit does. The zero value is not valid. The others are in the order in
// which edits must come.
type ListOp int

const (
	// ListOpUpdate changes the digest, size or media type of one entry.
	ListOpUpdate ListOp = iota + 1
	// ListOpDelete removes one entry.
	ListOpDelete
	// ListOpAdd adds one entry at the end.
	ListOpAdd
)

func (op ListOp) String() string {
	switch op {
	case ListOpUpdate:
		return "update"
	case ListOpDelete:
		return "delete"
	case ListOpAdd:
		return "add"
	}
	return "ListOp(" + strconv.Itoa(int(op)) + ")"
}

// A ListEdit is one change of a list. Fields of other operations than its own are ignored.
type ListEdit struct {
	ListOperation ListOp

	// UpdateIndex is the position of the entry to update. What is not replaced remains, with one
	// exception: with a new digest the entry loses its urls and data, which lead to the old
	// content.
	UpdateIndex int
	// UpdateDigest, UpdateSize and UpdateMediaType replace what the entry has. A zero value leaves
	// it as it is; not all may be zero, and a digest comes with its size in bytes.
	UpdateDigest    digest.Digest
	UpdateSize      int64
	UpdateMediaType string

	// AddDigest, AddSize (in bytes) and AddMediaType are required. Docker lists also require
	// AddPlatform, and have neither artifact types nor annotations.
	AddDigest       digest.Digest
	AddSize         int64
	AddMediaType    string
	AddArtifactType string              // "" for none
	AddPlatform     *imgspecv1.Platform // nil for none
	AddAnnotations  map[string]string   // empty for none

	// DeleteIndex is the position of the entry to delete.
	DeleteIndex int
}

// edit is EditInstances for both formats. addReason says why the format cannot have the entry of a
// ListOpAdd, or "".
func (c *core) edit(edits []ListEdit, addReason func(ListEdit) string) error {
	if c.doc == "" {
		return errNotParsed
	}
	if len(edits) == 0 {
		return nil
	}
	touching, err := checkEdits(edits, len(c.entries), addReason)
	if err != nil {
		return err
	}
	edited, err := c.updateAndDelete(edits, touching)
	if err != nil {
		return err
	}
	if edits[len(edits)-1].ListOperation == ListOpAdd { // adds come last
		model := &edited
		if len(edited.entries) == 0 { // the old entries still show how it is done
			model = c
		}
		if err := edited.add(edits, layoutOf(model)); err != nil {
			return err
		}
	}
	if n := edited.size(); n > MaxSize {
		return editError(edits, len(edits)-1, fmt.Sprintf("list would have %d bytes, more than %d", n, MaxSize))
	}
	*c = edited
	return nil
}

// updateAndDelete returns the list without the entries that are deleted, and with those that are
// updated changed. touching is what checkEdits returns.
func (c *core) updateAndDelete(edits []ListEdit, touching []int) (core, error) {
	edited := *c
	edited.edited = true
	edited.entries = slices.Clone(c.entries) // clones of the list share the old slice
	for i := range edited.entries {
		at := touching[i]
		if at < 0 || edits[at].ListOperation != ListOpUpdate {
			continue
		}
		updated, err := edited.entries[i].update(edits[at])
		if err != nil {
			return core{}, editError(edits, at, err.Error())
		}
		edited.entries[i] = updated
	}
	edited.entries = deleteRuns(edited.entries, deletedRuns(edits))
	return edited, nil
}

// A run is a range of neighbouring positions: from, and those after it up to but not to.
type run struct{ from, to int }

// deletedRuns returns the positions that edits delete as runs, from the highest to the lowest,
// which is the order of the edits.
func deletedRuns(edits []ListEdit) []run {
	var runs []run
	for _, e := range edits {
		if e.ListOperation != ListOpDelete {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].from == e.DeleteIndex+1 {
			runs[last].from = e.DeleteIndex
			continue
		}
		runs = append(runs, run{e.DeleteIndex, e.DeleteIndex + 1})
	}
	return runs
}

// manyRuns is the number of runs from which one pass over all entries is cheaper than moving the
// rest of them for each run.
const manyRuns = 64

// deleteRuns removes runs, which go from the highest to the lowest, from entries, in place.
func deleteRuns(entries []entry, runs []run) []entry {
	if len(runs) >= manyRuns {
		return deleteInOnePass(entries, runs)
	}
	for _, r := range runs {
		entries = slices.Delete(entries, r.from, r.to)
	}
	return entries
}

// deleteInOnePass is deleteRuns with a cost that does not grow with the number of runs.
func deleteInOnePass(entries []entry, runs []run) []entry {
	position, next := -1, len(runs)-1
	return slices.DeleteFunc(entries, func(entry) bool {
		position++
		if next >= 0 && position == runs[next].to {
			next--
		}
		return next >= 0 && position >= runs[next].from
	})
}

// add adds entries, laid out as given.
func (c *core) add(edits []ListEdit, lay layout) error {
	for i, e := range edits {
		if e.ListOperation != ListOpAdd {
			continue
		}
		added, err := parseEntry(lay.entry.object(e.addedFields()))
		if err != nil {
			return editError(edits, i, err.Error())
		}
		added.gap = lay.gap
		c.open, c.close = lay.open, lay.close
		c.entries = append(c.entries, added)
	}
	return nil
}

// addedFields are the fields of an entry to add, in the order in which image-spec's types have
// them.
func (e ListEdit) addedFields() []field {
	fields := []field{
		{"mediaType", e.AddMediaType},
		{"digest", e.AddDigest.String()},
		{"size", e.AddSize},
	}
	if len(e.AddAnnotations) > 0 {
		var annotations []field
		for _, k := range slices.Sorted(maps.Keys(e.AddAnnotations)) {
			annotations = append(annotations, field{k, e.AddAnnotations[k]})
		}
		fields = append(fields, field{"annotations", annotations})
	}
	if e.AddPlatform != nil {
		fields = append(fields, field{"platform", platformFields(e.AddPlatform)})
	}
	if e.AddArtifactType != "" {
		fields = append(fields, field{"artifactType", e.AddArtifactType})
	}
	return fields
}

func platformFields(p *imgspecv1.Platform) []field {
	fields := []field{{"architecture", p.Architecture}, {"os", p.OS}}
	if p.OSVersion != "" {
		fields = append(fields, field{"os.version", p.OSVersion})
	}
	if len(p.OSFeatures) > 0 {
		fields = append(fields, field{"os.features", p.OSFeatures})
	}
	if p.Variant != "" {
		fields = append(fields, field{"variant", p.Variant})
	}
	return fields
}

// update returns the entry with the changes of an update. Strings that mean the new value already
// keep their bytes, escapes included; a size can be written in one way only.
func (e entry) update(u ListEdit) (entry, error) {
	o := splitObject(e.raw)
	if u.UpdateDigest != "" && u.UpdateDigest != e.desc.Digest {
		o.set("digest", u.UpdateDigest.String())
		o.remove("urls")
		o.remove("data")
	}
	if u.UpdateSize != 0 {
		o.set("size", u.UpdateSize)
	}
	if u.UpdateMediaType != "" && u.UpdateMediaType != e.desc.MediaType {
		o.set("mediaType", u.UpdateMediaType)
	}
	updated, err := parseEntry(o.text())
	updated.gap = e.gap
	return updated, err
}

// parseEntry reads an entry that we have written, as Parse would. It has no gap yet.
func parseEntry(raw string) (entry, error) {
	s := &scanner{src: raw}
	desc, err := readDescriptor(s)
	return entry{raw: raw, desc: &desc}, err
}

func editError(edits []ListEdit, i int, reason string) *EditError {
	return &EditError{Index: i, Edit: edits[i], Reason: reason}
}
