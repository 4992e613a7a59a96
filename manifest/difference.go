package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// A Difference says how a list differs from what removing entries from its original can make.
type Difference string

// The differences. A program that prints words of its own has one text for each.
const (
	// EntryAltered is an entry that the original has otherwise: another digest for the same
	// platform, other annotations, another order of keys.
	EntryAltered Difference = "entry altered"
	// EntryAdded is an entry that the original does not have, or not so often.
	EntryAdded Difference = "entry added"
	// OrderChanged is an entry that stands before others in the original, and after them here.
	OrderChanged Difference = "order changed"
	// NestedUnproven is an entry that differs from the original's as one does that names a stripped
	// list, which that list is not. Err says why.
	NestedUnproven Difference = "nested list not proven"
	// LayoutChanged is other white space between entries, or inside the brackets around them.
	LayoutChanged Difference = "layout changed"
	// RestChanged is a difference before or after the entries: another annotation or subject,
	// another field, other white space.
	RestChanged Difference = "rest of the document changed"

	// DocumentMissing is a nested list that could not be had, or that is not what its digest and
	// size say. Err says why.
	DocumentMissing Difference = "document missing"
	// StrippedUnreadable is a stripped list that Parse refuses. Err is its *ParseError.
	StrippedUnreadable Difference = "stripped list unreadable"
	// OriginalUnreadable is an original that Parse refuses. Err is its *ParseError.
	OriginalUnreadable Difference = "original unreadable"
	// LimitExceeded is a list that is nested too deeply, or lists with too many entries or bytes.
	// Nothing is known of them. Err says which.
	LimitExceeded Difference = "limit exceeded"
)

// A DifferenceError says why, and where, a list is not its original with entries removed. What is
// wrong in a nested list is in the Err of the entry that names it, as a *DifferenceError again.
type DifferenceError struct {
	Kind Difference
	// Offset is the position in the stripped list of the first byte that differs, from 0, and Line
	// the line that it is on, from 1. Both are 0 for a document that is missing or unreadable, and
	// for a limit.
	Offset, Line int
	// Entry is the position of the entry of the stripped list that differs, and Original that of
	// the entry of the original with which it was compared; -1 for none.
	Entry, Original int
	// Field is the key of the member that differs: of the entry, or of the document for
	// RestChanged; "" if it is unknown or makes no sense.
	Field string
	// Err is the cause; nil for most kinds.
	Err error
}

func (e *DifferenceError) Error() string {
	var b strings.Builder
	b.WriteString(string(e.Kind))
	var where []string
	if e.Entry >= 0 {
		where = append(where, fmt.Sprintf("manifests[%d]", e.Entry))
	}
	if e.Field != "" {
		where = append(where, formatPath([]step{{key: e.Field, index: -1}}))
	}
	if e.Line > 0 {
		where = append(where, fmt.Sprintf("line %d, byte %d", e.Line, e.Offset))
	}
	if len(where) > 0 {
		b.WriteString(" (" + strings.Join(where, ", ") + ")")
	}
	if e.Original >= 0 {
		fmt.Fprintf(&b, ", compared with manifests[%d] of the original", e.Original)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

func (e *DifferenceError) Unwrap() error { return e.Err }

// whole is a difference that is about a document and no place in it.
func whole(kind Difference, err error) *DifferenceError {
	return &DifferenceError{Kind: kind, Entry: -1, Original: -1, Err: err}
}

// explain says why entry j of the stripped list is none of those that are left in the original.
func (pr *proof) explain(j int) *DifferenceError {
	s := pr.stripped.entries[j]
	taken := map[int]bool{}
	for _, i := range pr.kept {
		taken[i] = true
	}
	left := 0 // the first position that the entry could have
	if len(pr.kept) > 0 {
		left = pr.kept[len(pr.kept)-1] + 1
	}
	find := func(like func(o entry) bool) int {
		for i, o := range pr.original.entries {
			if !taken[i] && like(o) {
				return i
			}
		}
		return -1
	}
	if i := find(func(o entry) bool { return o.raw == s.raw }); i >= left {
		return pr.entryDifference(LayoutChanged, j, i)
	} else if i >= 0 {
		return pr.entryDifference(OrderChanged, j, i)
	}
	if i := find(func(o entry) bool { return o.desc.Digest == s.desc.Digest }); i >= 0 {
		return pr.entryDifference(EntryAltered, j, i)
	}
	if i := find(func(o entry) bool { return samePlatform(o.desc, s.desc) }); i >= 0 {
		return pr.entryDifference(EntryAltered, j, i)
	}
	return pr.entryDifference(EntryAdded, j, -1)
}

// samePlatform reports whether two entries are for the same platform.
func samePlatform(a, b *Descriptor) bool {
	p, q := a.Platform, b.Platform
	return p != nil && q != nil && p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant &&
		p.OSVersion == q.OSVersion && slices.Equal(p.OSFeatures, q.OSFeatures)
}

// entryDifference is a difference of entry j of the stripped list, held against entry i of the
// original, -1 for none.
func (pr *proof) entryDifference(kind Difference, j, i int) *DifferenceError {
	e := &DifferenceError{Kind: kind, Entry: j, Original: i, Offset: entryOffset(pr.stripped, j)}
	s := pr.stripped.entries[j]
	switch kind {
	case EntryAltered:
		at := firstDifference(s.raw, pr.original.entries[i].raw)
		e.Offset += at
		e.Field = memberAt(s.raw, at)
	case LayoutChanged:
		e.Offset += firstDifference(s.gap, pr.original.entries[i].gap) - len(s.gap)
	}
	e.Line = lineOf(pr.stripped.doc, e.Offset)
	return e
}

// explainRest says where the stripped list differs from what the edits make, with the same entries.
func (pr *proof) explainRest(edited string) *DifferenceError {
	doc := pr.stripped.doc
	at := firstDifference(doc, edited)
	e := &DifferenceError{Kind: RestChanged, Offset: at, Line: lineOf(doc, at), Entry: -1, Original: -1}
	if at >= len(pr.stripped.head) && at < len(doc)-len(pr.stripped.tail) {
		e.Kind = LayoutChanged
		return e
	}
	e.Field = memberAt(doc, at)
	return e
}

// entryOffset returns where in the document of c entry j starts.
func entryOffset(c *core, j int) int {
	at := len(c.head) + len(c.open)
	for k, e := range c.entries[:j+1] {
		if k > 0 {
			at += len(e.gap)
		}
		if k < j {
			at += len(e.raw)
		}
	}
	return at
}

// memberAt returns the key of the member of an object that is at an offset, "" if none is.
func memberAt(raw string, offset int) (key string) {
	s := &scanner{src: raw}
	s.space()
	_ = s.object(nil, func(k string) error {
		start := s.keyStart
		err := s.any()
		if start <= offset && offset < s.pos {
			key = k
		}
		return err
	})
	return key
}

// firstDifference returns the offset of the first byte in which a differs from b, or where the
// shorter one ends.
func firstDifference(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func lineOf(doc string, offset int) int { return 1 + strings.Count(doc[:offset], "\n") }
