package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
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
	DocumentMissing Difference = "no such document"
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
	// for a limit: no place is to blame.
	Offset, Line int
	// Entry is the position of the entry of the stripped list that differs, and Original that of
	// the entry of the original with which it was compared; -1 for none.
	Entry, Original int
	// Field is the key of the member at the difference, or of the first one after it: of the entry
	// for EntryAltered, of the document for RestChanged. It is "" if there is none, and for other
	// kinds.
	Field string
	// Document is the nested list that this is about: the original for one that is missing or
	// unreadable there, else the stripped one. "" stands for the top-level lists.
	Document digest.Digest
	// Err is the cause; nil for most kinds.
	Err error
}

func (e *DifferenceError) Error() string {
	var b strings.Builder
	if e.Document != "" {
		b.WriteString("list " + e.Document.String() + ": ")
	}
	b.WriteString(string(e.Kind))
	if where := e.where(); len(where) > 0 {
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

// where are the parts of the place of the difference.
func (e *DifferenceError) where() []string {
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
	return where
}

func (e *DifferenceError) Unwrap() error { return e.Err }

// whole is a difference that is about a document, nested unless its digest is "", and about no
// place in it.
func whole(kind Difference, document digest.Digest, err error) *DifferenceError {
	return &DifferenceError{Kind: kind, Document: document, Entry: -1, Original: -1, Err: err}
}

// at is a difference at an offset of the stripped list, in entry j of it, compared with entry i of
// the original; -1 for none.
func (pr *proof) at(kind Difference, offset, j, i int) *DifferenceError {
	line := 1 + strings.Count(pr.stripped.doc[:offset], "\n")
	return &DifferenceError{Kind: kind, Document: pr.digest, Offset: offset, Line: line, Entry: j, Original: i}
}

// nestedDifference says that entry j of the stripped list would be entry i of the original, were
// the nested lists proven.
func (pr *proof) nestedDifference(j, i int, nested *proof) *DifferenceError {
	e := pr.at(NestedUnproven, entryOffset(pr.stripped, j), j, i)
	e.Err = nested.why()
	return e
}

// entryDifference says why entry j of the stripped list is none of the original's from position
// next on.
func (pr *proof) entryDifference(j, next int) *DifferenceError {
	s, start := pr.stripped.entries[j], entryOffset(pr.stripped, j)
	removed := pr.removed()
	first := func(like func(o entry) bool) (i int, o entry) {
		for _, i := range removed {
			if o := pr.original.entries[i]; like(o) {
				return i, o
			}
		}
		return -1, entry{}
	}
	if i, o := first(func(o entry) bool { return o.raw == s.raw }); i >= next {
		return pr.at(LayoutChanged, start-len(s.gap)+firstDifference(s.gap, o.gap), j, i)
	} else if i >= 0 {
		return pr.at(OrderChanged, start, j, i)
	}
	i, o := first(func(o entry) bool { return o.desc.Digest == s.desc.Digest })
	if i < 0 {
		i, o = first(func(o entry) bool { return sameRole(o, s) })
	}
	if i < 0 {
		return pr.at(EntryAdded, start, j, -1)
	}
	within := firstDifference(s.raw, o.raw)
	e := pr.at(EntryAltered, start+within, j, i)
	e.Field = memberAt(s.raw, within)
	return e
}

// restDifference says where, outside of entries, the stripped list differs from what it should be.
func (pr *proof) restDifference(want string) *DifferenceError {
	doc := pr.stripped.doc
	offset := firstDifference(doc, want)
	if offset >= len(pr.stripped.head) && offset <= len(doc)-len(pr.stripped.tail) { // at most at the bracket
		return pr.at(LayoutChanged, offset, -1, -1)
	}
	e := pr.at(RestChanged, offset, -1, -1)
	e.Field = memberAt(doc, offset)
	return e
}

// sameRole reports whether two entries are for the same platform, or attestations of the same
// subject.
func sameRole(a, b entry) bool {
	ofA, isA := a.instance(0).AttestationOf()
	ofB, isB := b.instance(0).AttestationOf()
	if isA || isB {
		return isA == isB && ofA == ofB
	}
	return a.desc.Platform != nil && samePlatform(a.desc.Platform, b.desc.Platform)
}

// samePlatform reports whether two platforms, nil for none, are equal.
func samePlatform(p, q *imgspecv1.Platform) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant && p.OSVersion == q.OSVersion &&
		slices.Equal(p.OSFeatures, q.OSFeatures)
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

// memberAt returns the key of the member of an object that is at an offset, or of the next one; ""
// if there is none.
func memberAt(raw string, offset int) (at string) {
	s := &scanner{src: raw}
	s.space()
	_ = s.object(nil, func(key string) error {
		err := s.any()
		if s.pos > offset && err == nil {
			at, err = key, errEnough
		}
		return err
	})
	return at
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
