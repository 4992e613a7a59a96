package manifest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Limits of StrippedFrom on a list and those nested in it, which are those of package
// internal/listtree on what is ever stripped.
const (
	maxListDepth   = 8        // lists from the top-level one to the deepest, both included
	maxListEntries = 100_000  // entries in all lists; those of a list that is named twice count twice
	maxListBytes   = 64 << 20 // bytes of all distinct lists
	// maxComparisons is what lists within these limits can need: each entry is compared once for
	// each list that it is nested in, and once more.
	maxComparisons = maxListEntries * (maxListDepth + 1)
)

// StrippedFrom proves that stripped is original with entries removed and nothing else touched, and
// returns which. That is so if some batch of ListOpDelete, and of ListOpUpdate for entries that
// name nested lists of which the same is proven, makes the bytes of stripped of those of original.
// What is removed may be nothing, or everything. Where several removals explain the same bytes, it
// is the one that keeps the earliest entries, and Ambiguous is set.
//
// doc returns documents by digest: nested lists below the original, and those below the stripped
// list. It is asked at most once for each, for those only that may be needed, and also for images
// that may turn out to be lists: an error says that a document is not to be had, and is no error of
// StrippedFrom if the proof succeeds without it. What it returns is compared with the digest, and
// not retained. StrippedFrom believes that original is what the caller takes it for.
//
// The error is a *DifferenceError, which says where the first difference is, and of what kind.
//
// Lists are read by Parse. Documents come from strangers: lists may be nested 8 deep, and have
// 100,000 entries and 64 MiB in all. The time goes with the number of entries, times the depth at
// most.
func StrippedFrom(stripped, original []byte, doc func(digest.Digest) ([]byte, error)) (Removal, error) {
	o, err := Parse(original, "")
	if err != nil {
		return Removal{}, whole(OriginalUnreadable, err)
	}
	s, err := Parse(stripped, "")
	if err != nil {
		return Removal{}, whole(StrippedUnreadable, err)
	}
	p := prover{doc: doc, documents: map[digest.Digest]document{}, proofs: map[[2]digest.Digest]*proof{}}
	proof, err := p.compare(s, o, 1)
	if err != nil {
		return Removal{}, err
	}
	if proof.difference != nil {
		return Removal{}, proof.difference
	}
	removal, err := p.removal(proof, 1)
	if err != nil {
		return Removal{}, err
	}
	return removal, nil
}

// A prover proves lists and those nested in them. Errors of its methods, other than differences in
// proofs, are limits and end everything.
type prover struct {
	doc       func(digest.Digest) ([]byte, error)
	documents map[digest.Digest]document
	proofs    map[[2]digest.Digest]*proof // by the digests of a stripped nested list and its original

	held     int // bytes of documents
	compared int // pairs of entries
	listed   int // entries of the originals that the removal is about
}

// A document is what doc returned.
type document struct {
	bytes []byte
	err   error
}

// A proof is what came of comparing a list with its original.
type proof struct {
	stripped, original *core
	// kept is the position in the original of each entry of the stripped list; nested are the
	// proofs of those that name nested lists which changed, nil for the others.
	kept   []int
	nested []*proof
	height int // number of lists from this one to the deepest that was looked at, both included
	// difference is why there is no proof; nil if there is one.
	difference *DifferenceError
	// ambiguous is not nil once it is known; nested lists are not looked into.
	ambiguous *bool
}

// compare looks for the entries of stripped in original. The first entry that can be the next one
// is always as good as a later one: what comes after has more to choose from.
func (p *prover) compare(stripped, original List, depth int) (*proof, error) {
	if depth > maxListDepth {
		return nil, limitError("lists are nested more than %d deep", maxListDepth)
	}
	pr := &proof{stripped: stripped.sealed(), original: original.sealed(), height: 1}
	i := 0
	for j := range pr.stripped.entries {
		var unproven *DifferenceError // of the first that could have been it, if its list were
		found := false
		for ; i < len(pr.original.entries) && !found; i++ {
			m, err := p.match(pr, j, i, depth)
			switch {
			case err != nil:
				return nil, err
			case m.same:
				pr.kept, pr.nested, found = append(pr.kept, i), append(pr.nested, m.nested), true
			case m.nested != nil && unproven == nil:
				unproven = pr.entryDifference(NestedUnproven, j, i)
				unproven.Err = m.nested.difference
			}
		}
		if !found {
			pr.difference = unproven
			if unproven == nil {
				pr.difference = pr.explain(j)
			}
			return pr, nil
		}
	}
	pr.difference = pr.check()
	return pr, nil
}

// A match says whether an entry of the stripped list can be one of the original. nested is what
// came of their lists, nil if these are the same or there are none.
type match struct {
	same   bool
	nested *proof
}

// match compares entry j of the stripped list with entry i of the original.
func (p *prover) match(pr *proof, j, i, depth int) (match, error) {
	if p.compared++; p.compared > maxComparisons {
		return match{}, limitError("more than %d entries to compare", maxComparisons)
	}
	s, o := pr.stripped.entries[j], pr.original.entries[i]
	switch {
	case j > 0 && s.gap != o.gap:
		return match{}, nil
	case s.raw == o.raw:
		return match{same: true}, nil
	case !updatesTo(o, s):
		return match{}, nil
	}
	nested, err := p.nested(s.desc, o.desc, depth+1)
	if err != nil || nested == nil {
		return match{}, err
	}
	pr.height = max(pr.height, 1+nested.height)
	return match{same: nested.difference == nil, nested: nested}, nil
}

// updatesTo reports whether the update that names another nested list makes s of o.
func updatesTo(o, s entry) bool {
	is, was := s.desc, o.desc
	if is.Digest == was.Digest || is.Digest.Algorithm() != was.Digest.Algorithm() || is.Size == 0 ||
		is.MediaType != was.MediaType || IsBlobMediaType(was.MediaType) {
		return false
	}
	updated, err := o.update(namesInstead(is))
	return err == nil && updated.raw == s.raw
}

// namesInstead is the update by which an entry names what d names.
func namesInstead(d *Descriptor) ListEdit {
	return ListEdit{ListOperation: ListOpUpdate, UpdateDigest: d.Digest, UpdateSize: d.Size}
}

// nested returns what comes of comparing the lists that two entries name, nil if the one of the
// original names no list.
func (p *prover) nested(stripped, original *Descriptor, depth int) (*proof, error) {
	pair := [2]digest.Digest{stripped.Digest, original.Digest}
	if known, ok := p.proofs[pair]; ok {
		if known != nil && depth-1+known.height > maxListDepth {
			return nil, limitError("lists are nested more than %d deep", maxListDepth)
		}
		return known, nil
	}
	pr, err := p.compareNested(stripped, original, depth)
	if err == nil {
		p.proofs[pair] = pr
	}
	return pr, err
}

func (p *prover) compareNested(stripped, original *Descriptor, depth int) (*proof, error) {
	was := p.read(original.Digest)
	mediaType := TypeOf(was.bytes, original.MediaType)
	if !IsListMediaType(mediaType) {
		return nil, p.bounded()
	}
	is := p.read(stripped.Digest)
	if err := p.bounded(); err != nil {
		return nil, err
	}
	failed := func(kind Difference, of *Descriptor, err error) (*proof, error) {
		return &proof{height: 1, difference: whole(kind, fmt.Errorf("%s: %w", of.Digest, err))}, nil
	}
	switch {
	case was.err != nil:
		return failed(DocumentMissing, original, was.err)
	case is.err != nil:
		return failed(DocumentMissing, stripped, is.err)
	case int64(len(is.bytes)) != stripped.Size:
		return failed(DocumentMissing, stripped, fmt.Errorf("it has %d bytes, not %d", len(is.bytes), stripped.Size))
	}
	o, err := Parse(was.bytes, mediaType)
	if err != nil {
		return failed(OriginalUnreadable, original, err)
	}
	s, err := Parse(is.bytes, mediaType)
	if err != nil {
		return failed(StrippedUnreadable, stripped, err)
	}
	return p.compare(s, o, depth)
}

// read returns the document with the digest d, which its bytes have.
func (p *prover) read(d digest.Digest) document {
	if known, ok := p.documents[d]; ok {
		return known
	}
	var doc document
	doc.bytes, doc.err = p.doc(d)
	switch {
	case doc.err != nil:
		doc.bytes = nil
	case len(doc.bytes) > MaxSize:
		doc = document{err: fmt.Errorf("%w: %d bytes", ErrTooLarge, len(doc.bytes))}
	case d.Algorithm().FromBytes(doc.bytes) != d:
		doc = document{err: errors.New("its bytes are not those of the digest")}
	}
	p.held += len(doc.bytes)
	p.documents[d] = doc
	return doc
}

// bounded returns an error if the documents have too many bytes.
func (p *prover) bounded() error {
	if p.held > 2*maxListBytes { // originals, and what was made of them
		return limitError("lists have more than %d bytes", maxListBytes)
	}
	return nil
}

// check makes the edits that pr stands for, and demands that they come to the stripped list.
func (pr *proof) check() *DifferenceError {
	edited, err := edit(pr)
	if err != nil {
		return whole(RestChanged, err)
	}
	if edited == pr.stripped.doc {
		return nil
	}
	return pr.explainRest(edited)
}

// edit returns what the edits that pr stands for make of the original.
func edit(pr *proof) (string, error) {
	var updates, deletes []ListEdit
	kept := pr.kept
	for i := range pr.original.entries {
		if len(kept) == 0 || kept[0] != i {
			deletes = append(deletes, ListEdit{ListOperation: ListOpDelete, DeleteIndex: i})
			continue
		}
		j := len(pr.kept) - len(kept)
		if kept = kept[1:]; pr.nested[j] != nil {
			update := namesInstead(pr.stripped.entries[j].desc)
			update.UpdateIndex = i
			updates = append(updates, update)
		}
	}
	slices.Reverse(deletes)
	list := *pr.original
	if err := list.edit(slices.Concat(updates, deletes), func(ListEdit) string { return "" }); err != nil {
		return "", err
	}
	b, err := list.Serialize()
	return string(b), err
}

// removal returns what pr proves to have been removed.
func (p *prover) removal(pr *proof, depth int) (Removal, error) {
	n := len(pr.original.entries)
	if p.listed += n; p.listed > maxListEntries {
		return Removal{}, limitError("lists have more than %d entries", maxListEntries)
	}
	ambiguous, err := p.ambiguous(pr, depth)
	if err != nil {
		return Removal{}, err
	}
	r := Removal{Entries: n, Ambiguous: ambiguous}
	j := 0
	for i, e := range pr.original.entries {
		if j == len(pr.kept) || pr.kept[j] != i {
			r.Removed = append(r.Removed, removedEntry(i, e))
			continue
		}
		if nested := pr.nested[j]; nested != nil {
			inner, err := p.removal(nested, depth+1)
			if err != nil {
				return Removal{}, err
			}
			r.Ambiguous = r.Ambiguous || inner.Ambiguous
			r.Nested = append(r.Nested, NestedRemoval{
				Index: i, Original: e.desc.Digest, Stripped: pr.stripped.entries[j].desc.Digest, Removal: inner,
			})
		}
		j++
	}
	return r, nil
}

// ambiguous reports whether other entries of the original than those that pr keeps can be those of
// the stripped list. If so, the last ones that can be are not all the same as the first ones.
func (p *prover) ambiguous(pr *proof, depth int) (bool, error) {
	if pr.ambiguous == nil {
		ambiguous, err := p.another(pr, depth)
		if err != nil {
			return false, err
		}
		pr.ambiguous = &ambiguous
	}
	return *pr.ambiguous, nil
}

func (p *prover) another(pr *proof, depth int) (bool, error) {
	next := len(pr.original.entries)
	for j := len(pr.kept) - 1; j >= 0; j-- {
		for i := next - 1; i > pr.kept[j]; i-- {
			if m, err := p.match(pr, j, i, depth); err != nil || m.same {
				return m.same, err
			}
		}
		next = pr.kept[j]
	}
	return false, nil
}

func limitError(format string, limit int) *DifferenceError {
	return whole(LimitExceeded, fmt.Errorf(format, limit))
}
