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
	// ListOpUpdate changes the digest, size or media type of one entry, or gives it annotations.
	ListOpUpdate ListOp = iota + 1
	// ListOpDelete removes one entry.
	ListOpDelete
	// ListOpAdd adds one entry at the end. Adds and moves come in any order.
	ListOpAdd
	// ListOpMove moves one entry, updated or not, to the end.
	ListOpMove
)

func (op ListOp) String() string {
	switch op {
	case ListOpUpdate:
		return "update"
	case ListOpDelete:
		return "delete"
	case ListOpAdd:
		return "add"
	case ListOpMove:
		return "move"
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
	// it as it is, and a digest comes with its size in bytes. An update changes something: not all
	// may be zero, without UpdateAnnotations.
	UpdateDigest    digest.Digest
	UpdateSize      int64
	UpdateMediaType string
	// UpdateAnnotations are annotations that the entry gets, beside those that it has, or instead
	// of those with the same keys. Empty for none; Docker lists have none.
	UpdateAnnotations map[string]string

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

	// MoveIndex is the position of the entry to move.
	MoveIndex int
}

// edit is EditInstances for both formats. formatReason says why the format cannot have what an
// update or add makes of an entry, or "".
func (c *core) edit(edits []ListEdit, formatReason func(ListEdit) string) error {
	if c.doc == "" {
		return errNotParsed
	}
	if len(edits) == 0 {
		return nil
	}
	touching, err := checkEdits(edits, len(c.entries), formatReason)
	if err != nil {
		return err
	}
	edited, moved, err := c.updateAndRemove(edits, touching)
	if err != nil {
		return err
	}
	if edits[len(edits)-1].ListOperation >= ListOpAdd { // adds and moves come last
		model := &edited
		if len(edited.entries) == 0 { // the old entries still show how it is done
			model = c
		}
		if err := edited.append(edits, moved, layoutOf(model)); err != nil {
			return err
		}
	}
	if n := edited.size(); n > MaxSize {
		return editError(edits, len(edits)-1, fmt.Sprintf("list would have %d bytes, more than %d", n, MaxSize))
	}
	*c = edited
	return nil
}

// updateAndRemove returns the list without the entries that are deleted or moved, and with those
// that are updated changed, and the moved ones by their positions. touching is what checkEdits
// returns.
func (c *core) updateAndRemove(edits []ListEdit, touching []touches) (edited core, moved map[int]entry, err error) {
	edited = *c
	edited.edited = true
	edited.entries = slices.Clone(c.entries) // clones of the list share the old slice
	moved = map[int]entry{}
	for i := range edited.entries {
		if at := touching[i].update; at >= 0 {
			updated, err := edited.entries[i].update(edits[at])
			if err != nil {
				return core{}, nil, editError(edits, at, err.Error())
			}
			edited.entries[i] = updated
		}
		if at := touching[i].remove; at >= 0 && edits[at].ListOperation == ListOpMove {
			moved[i] = edited.entries[i]
		}
	}
	edited.entries = deleteRuns(edited.entries, removedRuns(edits))
	return edited, moved, nil
}

// A run is a range of neighbouring positions: from, and those after it up to but not to.
type run struct{ from, to int }

// removedRuns returns the positions that edits delete or move as runs, from the highest to the
// lowest.
func removedRuns(edits []ListEdit) []run {
	var removed []int
	for _, e := range edits {
		switch e.ListOperation {
		case ListOpDelete:
			removed = append(removed, e.DeleteIndex)
		case ListOpMove:
			removed = append(removed, e.MoveIndex)
		}
	}
	slices.SortFunc(removed, func(a, b int) int { return b - a })
	var runs []run
	for _, i := range removed {
		if last := len(runs) - 1; last >= 0 && runs[last].from == i+1 {
			runs[last].from = i
			continue
		}
		runs = append(runs, run{i, i + 1})
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

// append appends the entries that are added or moved. Those that are added are laid out as given,
// and so is what comes before one that was the first.
func (c *core) append(edits []ListEdit, moved map[int]entry, lay layout) error {
	for i, e := range edits {
		var last entry
		switch e.ListOperation {
		case ListOpAdd:
			added, err := parseEntry(lay.entry.object(e.addedFields()))
			if err != nil {
				return editError(edits, i, err.Error())
			}
			added.gap = lay.gap
			last = added
		case ListOpMove:
			if last = moved[e.MoveIndex]; e.MoveIndex == 0 {
				last.gap = lay.gap
			}
		default:
			continue
		}
		c.open, c.close = lay.open, lay.close
		c.entries = append(c.entries, last)
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
		fields = append(fields, field{"annotations", annotationFields(e.AddAnnotations)})
	}
	if e.AddPlatform != nil {
		fields = append(fields, field{"platform", platformFields(e.AddPlatform)})
	}
	if e.AddArtifactType != "" {
		fields = append(fields, field{"artifactType", e.AddArtifactType})
	}
	return fields
}

// annotationFields are annotations sorted by their keys.
func annotationFields(annotations map[string]string) []field {
	fields := make([]field, 0, len(annotations))
	for _, k := range slices.Sorted(maps.Keys(annotations)) {
		fields = append(fields, field{k, annotations[k]})
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
	if annotations := e.desc.without(u.UpdateAnnotations); len(annotations) > 0 {
		o.annotate(annotationFields(annotations))
	}
	updated, err := parseEntry(o.text())
	updated.gap = e.gap
	return updated, err
}

// without returns those of annotations that the descriptor does not have.
func (d *Descriptor) without(annotations map[string]string) map[string]string {
	lacking := maps.Clone(annotations)
	maps.DeleteFunc(lacking, func(key, value string) bool {
		is, ok := d.Annotations[key]
		return ok && is == value
	})
	return lacking
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
