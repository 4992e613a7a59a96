package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// touches are the positions of the edits of one entry: of what updates it, and of what deletes or
// moves it; -1 for none.
type touches struct{ update, remove int }

// checkEdits checks all edits of a list with n entries, and returns which touch each of them.
// formatReason says why the list's format cannot have what an update or add makes of an entry, or
// "".
func checkEdits(edits []ListEdit, n int, formatReason func(ListEdit) string) ([]touches, error) {
	touching := slices.Repeat([]touches{{-1, -1}}, n)
	for i, e := range edits {
		reason := e.invalidReason(n)
		if reason == "" && i > 0 {
			reason = orderReason(edits[i-1], e)
		}
		if reason == "" {
			switch e.ListOperation {
			case ListOpAdd:
				reason = formatReason(e)
			case ListOpUpdate:
				reason = cmp.Or(touch(&touching[e.UpdateIndex].update, edits, e.UpdateIndex, i), formatReason(e))
			case ListOpDelete:
				reason = touch(&touching[e.DeleteIndex].remove, edits, e.DeleteIndex, i)
				if reason == "" && touching[e.DeleteIndex].update >= 0 {
					reason = touch(&touching[e.DeleteIndex].update, edits, e.DeleteIndex, i)
				}
			case ListOpMove:
				reason = touch(&touching[e.MoveIndex].remove, edits, e.MoveIndex, i)
			}
		}
		if reason != "" {
			return nil, editError(edits, i, reason)
		}
	}
	return touching, nil
}

// touch notes that edit i is the one of its kind at index, or says why it must not be.
func touch(by *int, edits []ListEdit, index, i int) string {
	if *by >= 0 {
		return fmt.Sprintf("%s of index %d, which edit %d (%s) names too",
			edits[i].ListOperation, index, *by, edits[*by].ListOperation)
	}
	*by = i
	return ""
}

// orderReason says why e must not come right after previous, or "".
func orderReason(previous, e ListEdit) string {
	switch {
	case e.ListOperation < min(previous.ListOperation, ListOpAdd):
		return fmt.Sprintf("%s after %s (updates come first, then deletes, then adds)", e.ListOperation, previous.ListOperation)
	case e.ListOperation == ListOpDelete && previous.ListOperation == ListOpDelete && e.DeleteIndex > previous.DeleteIndex:
		return fmt.Sprintf("delete index %d after delete index %d (deletes run from the highest index to the lowest)",
			e.DeleteIndex, previous.DeleteIndex)
	}
	return ""
}

// invalidReason says why the edit alone cannot be applied to a list with n entries, or "".
func (e ListEdit) invalidReason(n int) string {
	switch e.ListOperation {
	case ListOpUpdate:
		return e.invalidUpdate(n)
	case ListOpDelete:
		return indexReason("delete", e.DeleteIndex, n)
	case ListOpAdd:
		return e.invalidAdd()
	case ListOpMove:
		return indexReason("move", e.MoveIndex, n)
	}
	return fmt.Sprintf("invalid operation %s", e.ListOperation)
}

func (e ListEdit) invalidUpdate(n int) string {
	if reason := indexReason("update", e.UpdateIndex, n); reason != "" {
		return reason
	}
	for k, v := range e.UpdateAnnotations {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return quote(k+"="+v) + " is not valid UTF-8"
		}
	}
	switch {
	case e.UpdateDigest == "" && e.UpdateSize == 0 && e.UpdateMediaType == "" && len(e.UpdateAnnotations) == 0:
		return fmt.Sprintf("update of index %d changes nothing", e.UpdateIndex)
	case e.UpdateDigest != "" && e.UpdateSize == 0:
		return fmt.Sprintf("update of index %d has a digest without its size", e.UpdateIndex)
	case !utf8.ValidString(e.UpdateMediaType):
		return quote(e.UpdateMediaType) + " is not valid UTF-8"
	case e.UpdateDigest == "":
		return sizeReason(e.UpdateSize)
	}
	return contentReason(e.UpdateDigest, e.UpdateSize)
}

func (e ListEdit) invalidAdd() string {
	if e.AddMediaType == "" {
		return "add without a media type"
	}
	texts := []string{e.AddMediaType, e.AddArtifactType}
	if p := e.AddPlatform; p != nil {
		texts = append(texts, p.Architecture, p.OS, p.OSVersion, p.Variant)
		texts = append(texts, p.OSFeatures...)
	}
	for k, v := range e.AddAnnotations {
		texts = append(texts, k, v)
	}
	for _, t := range texts {
		if !utf8.ValidString(t) {
			return quote(t) + " is not valid UTF-8"
		}
	}
	return contentReason(e.AddDigest, e.AddSize)
}

func indexReason(verb string, index, n int) string {
	if index < 0 || index >= n {
		return fmt.Sprintf("invalid %s index %d (list has %d instances)", verb, index, n)
	}
	return ""
}

// contentReason says why content cannot have the given digest and size, or "".
func contentReason(d digest.Digest, size int64) string {
	if err := d.Validate(); err != nil {
		return "invalid digest " + quote(d.String()) + ": " + err.Error()
	}
	return sizeReason(size)
}

func sizeReason(size int64) string {
	if size < 0 || size > maxSafeSize {
		return fmt.Sprintf("invalid size %d", size)
	}
	return ""
}
