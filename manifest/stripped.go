package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Limits of StrippedFrom on an original and the lists nested in it. They are those of package
// internal/listtree, beyond which nothing is ever stripped.
const (
	maxListDepth   = 8        // lists from the top-level one to the deepest, both included
	maxListEntries = 100_000  // in all lists; a list that is named several times counts each time
	maxListBytes   = 64 << 20 // of all distinct lists
	// maxPasses is how often the entries and bytes of a list can come up within these limits: for
	// each list that it is nested in, for itself, and once more.
	maxPasses = maxListDepth + 1
)

// StrippedFrom proves that stripped is original with entries removed and nothing else touched, and
// returns which. That is so if edits make the bytes of stripped of those of original: some
// ListOpDelete, and a ListOpUpdate of digest and size for each entry that remains and names a
// nested list which was stripped in turn, of which the same is proven. What is removed may be
// nothing, or all. Where several removals explain the same bytes, the one that keeps the earliest
// entries is returned, with Ambiguous set.
//
// doc returns nested lists by digest, those below original and those below stripped. It is asked
// once for each that may be needed. These can be images that stripped names, which may turn out to
// be lists; it need not have them, and its errors do not matter if there is a proof without them.
// It may be nil if there are no nested lists. What it returns is held against the digest, and not
// modified. That original is what the caller takes it for is the caller's to know.
//
// The error is a *DifferenceError: which difference, and where.
//
// All lists must be such that Parse takes them. They may be nested 8 deep, with 100,000 entries and
// 64 MiB in all; more is refused, as LimitExceeded. The time goes with the number of entries of the
// originals times their depth, at most.
func StrippedFrom(stripped, original []byte, doc func(digest.Digest) ([]byte, error)) (Removal, error) {
	return newProver(doc).prove(stripped, original)
}

// A prover compares lists with their originals, each pair once. The errors of its methods are
// limits, which end everything; a list that is something else than its original stripped is no
// error.
type prover struct {
	doc       func(digest.Digest) ([]byte, error)
	documents map[digest.Digest]document
	proofs    map[listPair]*proof

	held           int // bytes of documents
	entries, bytes int // of originals, as often as they came up
	listed         int // entries of the originals that the removal is about
}

func newProver(doc func(digest.Digest) ([]byte, error)) *prover {
	return &prover{doc: doc, documents: map[digest.Digest]document{}, proofs: map[listPair]*proof{}}
}

// prove is StrippedFrom.
func (p *prover) prove(stripped, original []byte) (Removal, error) {
	o, err := Parse(original, "")
	if err != nil {
		return Removal{}, whole(OriginalUnreadable, "", err)
	}
	s, err := Parse(stripped, "")
	if err != nil {
		return Removal{}, whole(StrippedUnreadable, "", err)
	}
	proof := &proof{stripped: s.sealed(), original: o.sealed(), height: 1}
	err = p.compare(proof, 1)
	switch {
	case err != nil:
		return Removal{}, err
	case proof.why != nil:
		return Removal{}, proof.why()
	}
	return p.removal(proof, 1)
}

// A listPair is a nested list, as an entry describes it, and its original.
type listPair struct {
	stripped digest.Digest
	size     int64
	original digest.Digest
}

// A proof is what came of comparing a list with its original.
type proof struct {
	digest             digest.Digest // of the stripped list, "" if it is the top-level one
	stripped, original *core
	// kept has the position in the original of each entry of the stripped list. nested has the
	// proof of each that names another list than the original's, else nil.
	kept   []int
	nested []*proof
	// why says why there is no proof; nil if there is one. It takes longer than finding that out.
	// kept then ends before the entry that differs.
	why func() *DifferenceError
	// height is the number of lists from this one to the deepest that was compared.
	height int
	// ambiguous points to whether others than kept could be kept, nil until somebody asks.
	ambiguous *bool
}

// compare looks for the entries of the stripped list in the original, one after the other. The
// first that an entry can be is as good as any later one: all the more are left for those that
// follow.
func (p *prover) compare(pr *proof, depth int) error {
	if err := p.pass(pr.original); err != nil {
		return err
	}
	if pr.stripped.head != pr.original.head {
		pr.why = func() *DifferenceError { return pr.restDifference(pr.original.head) }
		return nil
	}
	next := 0
	for j := range pr.stripped.entries {
		i, m, err := p.find(pr, j, next, depth)
		if err != nil || pr.why != nil {
			return err
		}
		pr.kept, pr.nested, next = append(pr.kept, i), append(pr.nested, m.nested), i+1
	}
	pr.why = pr.check()
	return nil
}

// find returns the first entry of the original, from position next on, that entry j of the stripped
// list can be. If there is none, pr knows why.
func (p *prover) find(pr *proof, j, next, depth int) (int, match, error) {
	var unproven *proof // of the first lists that the entries could name, if there were a proof
	at := 0
	for i := next; i < len(pr.original.entries); i++ {
		m, err := p.match(pr, j, i, depth)
		if err != nil || m.ok {
			return i, m, err
		}
		if m.nested != nil && unproven == nil {
			unproven, at = m.nested, i
		}
	}
	pr.why = func() *DifferenceError { return pr.entryDifference(j, next) }
	if unproven != nil {
		pr.why = func() *DifferenceError { return pr.nestedDifference(j, at, unproven) }
	}
	return 0, match{}, nil
}

// A match says whether an entry of the stripped list can be one of the original.
type match struct {
	ok     bool
	nested *proof // of the lists that they name; nil if these are the same, or there are none
}

func (p *prover) match(pr *proof, j, i, depth int) (match, error) {
	s, o := pr.stripped.entries[j], pr.original.entries[i]
	switch {
	case j > 0 && s.gap != o.gap:
		return match{}, nil
	case s.raw == o.raw:
		return match{ok: true}, nil
	case !updatesTo(o, s):
		return match{}, nil
	}
	nested, err := p.nested(s.desc, o.desc, depth+1)
	if err != nil || nested == nil {
		return match{}, err
	}
	pr.height = max(pr.height, 1+nested.height)
	return match{ok: nested.why == nil, nested: nested}, nil
}

// updatesTo reports whether s is what becomes of o when it names another list.
func updatesTo(o, s entry) bool {
	was, is := o.desc, s.desc
	switch {
	case is.Digest == was.Digest, is.Digest.Algorithm() != was.Digest.Algorithm(), is.Size == 0, IsBlobMediaType(was.MediaType):
		return false
	case is.MediaType != was.MediaType, !samePlatform(is.Platform, was.Platform):
		return false // which the bytes would show as well, in more time
	}
	updated, err := o.update(naming(is))
	return err == nil && updated.raw == s.raw
}

// naming is the update of an entry that is to name what d names.
func naming(d *Descriptor) ListEdit {
	return ListEdit{ListOperation: ListOpUpdate, UpdateDigest: d.Digest, UpdateSize: d.Size}
}

// nested compares the lists that two entries name. The proof is nil if they are no lists: where the
// entries do not say that they are, the documents have to be there and be lists. That of the
// stripped list is asked for first, which whoever has that list has.
func (p *prover) nested(stripped, original *Descriptor, depth int) (*proof, error) {
	said := IsListMediaType(original.MediaType)
	is, err := p.read(stripped.Digest)
	if err != nil || !is.isList && !said {
		return nil, err
	}
	was, err := p.read(original.Digest)
	if err != nil || !was.isList && !(said && was.missing != nil) {
		return nil, err
	}
	pair := listPair{stripped.Digest, stripped.Size, original.Digest}
	pr, ok := p.proofs[pair]
	if !ok {
		if pr, err = p.compareNested(stripped, original, is, was, depth); err != nil {
			return nil, err
		}
		p.proofs[pair] = pr
	}
	if depth+pr.height-1 > maxListDepth {
		return nil, tooDeep()
	}
	return pr, nil
}

// compareNested is nested for lists that were not compared before: is and was.
func (p *prover) compareNested(stripped, original *Descriptor, is, was document, depth int) (*proof, error) {
	if is.missing == nil && int64(is.size) != stripped.Size {
		is.missing = fmt.Errorf("it has %d bytes, not %d", is.size, stripped.Size)
	}
	failed := cmp.Or(unfit(was, original, OriginalUnreadable), unfit(is, stripped, StrippedUnreadable))
	if failed != nil {
		return failed, nil
	}
	if depth > maxListDepth {
		return nil, tooDeep()
	}
	pr := &proof{digest: stripped.Digest, stripped: is.list, original: was.list, height: 1}
	return pr, p.compare(pr, depth)
}

// A document is what came of asking for one.
type document struct {
	isList  bool // as TypeOf says, if it is there
	size    int  // in bytes
	list    *core
	missing error // why there is none with its digest, nil if there is
	refused error // why Parse refuses it, nil if it does not
}

var errNoDocuments = errors.New("no nested lists were given")

// read returns the document with the digest d.
func (p *prover) read(d digest.Digest) (document, error) {
	if known, ok := p.documents[d]; ok {
		return known, nil
	}
	var b []byte
	err := errNoDocuments
	if p.doc != nil {
		b, err = p.doc(d)
	}
	switch {
	case err != nil:
		b = nil
	case len(b) > MaxSize:
		b, err = nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(b))
	case d.Algorithm().FromBytes(b) != d:
		b, err = nil, errors.New("the bytes are not those of the digest")
	}
	if p.held += len(b); p.held > 2*maxListBytes { // originals, and what was made of them
		return document{}, exceeded("nested lists have more than %d bytes", maxListBytes)
	}
	doc := document{missing: err, size: len(b), isList: IsListMediaType(TypeOf(b, ""))}
	if err == nil {
		var list List
		if list, doc.refused = Parse(b, ""); doc.refused == nil {
			doc.list = list.sealed()
		}
	}
	p.documents[d] = doc
	return doc, nil
}

// unfit says of a nested list, which entry names, why it cannot be compared. It is nil if it can.
func unfit(doc document, entry *Descriptor, unreadable Difference) *proof {
	kind, err := unreadable, doc.refused
	if doc.missing != nil {
		kind, err = DocumentMissing, doc.missing
	}
	if err == nil {
		return nil
	}
	return &proof{height: 1, why: func() *DifferenceError { return whole(kind, entry.Digest, err) }}
}

// pass counts the entries and bytes of an original that come up.
func (p *prover) pass(original *core) error {
	p.entries += len(original.entries)
	p.bytes += len(original.doc)
	switch {
	case p.entries > maxListEntries*maxPasses:
		return exceeded("more than %d entries to compare", maxListEntries*maxPasses)
	case p.bytes > maxListBytes*maxPasses:
		return exceeded("more than %d bytes to compare", maxListBytes*maxPasses)
	}
	return nil
}

func exceeded(format string, limit int) *DifferenceError {
	return whole(LimitExceeded, "", fmt.Errorf(format, limit))
}

func tooDeep() *DifferenceError {
	return exceeded("lists are nested more than %d deep", maxListDepth)
}

// check makes the edits that pr stands for. What it returns says how the stripped list differs all
// the same, outside of its entries; it is nil if it does not.
func (pr *proof) check() func() *DifferenceError {
	edited := OCI1Index{*pr.original}                        // the formats differ in additions and annotations only
	if err := edited.EditInstances(pr.edits()); err != nil { // a list would be too large
		return func() *DifferenceError { return whole(LimitExceeded, pr.digest, err) }
	}
	b, err := edited.Serialize()
	if err == nil && string(b) == pr.stripped.doc {
		return nil
	}
	return func() *DifferenceError { return pr.restDifference(string(b)) }
}

// edits are those that make the stripped list of the original.
func (pr *proof) edits() []ListEdit {
	var edits []ListEdit
	for j, i := range pr.kept {
		if pr.nested[j] != nil {
			update := naming(pr.stripped.entries[j].desc)
			update.UpdateIndex = i
			edits = append(edits, update)
		}
	}
	for _, i := range slices.Backward(pr.removed()) {
		edits = append(edits, ListEdit{ListOperation: ListOpDelete, DeleteIndex: i})
	}
	return edits
}

// removed returns the positions of the entries of the original that the stripped list does not
// have.
func (pr *proof) removed() []int {
	var removed []int
	j := 0
	for i := range pr.original.entries {
		if j < len(pr.kept) && pr.kept[j] == i {
			j++
			continue
		}
		removed = append(removed, i)
	}
	return removed
}

// removal returns what pr proves to have been removed.
func (p *prover) removal(pr *proof, depth int) (Removal, error) {
	r := Removal{Entries: len(pr.original.entries)}
	if p.listed += r.Entries; p.listed > maxListEntries {
		return Removal{}, exceeded("lists have more than %d entries", maxListEntries)
	}
	for _, i := range pr.removed() {
		r.Removed = append(r.Removed, removedEntry(i, pr.original.entries[i]))
	}
	for j, i := range pr.kept {
		if pr.nested[j] == nil {
			continue
		}
		inner, err := p.removal(pr.nested[j], depth+1)
		if err != nil {
			return Removal{}, err
		}
		r.Ambiguous = r.Ambiguous || inner.Ambiguous
		r.Nested = append(r.Nested, NestedRemoval{
			Index: i, Original: pr.original.entries[i].desc.Digest, Stripped: pr.stripped.entries[j].desc.Digest, Removal: inner,
		})
	}
	if pr.ambiguous == nil {
		another, err := p.another(pr, depth)
		if err != nil {
			return Removal{}, err
		}
		pr.ambiguous = &another
	}
	r.Ambiguous = r.Ambiguous || *pr.ambiguous
	return r, nil
}

// another reports whether other entries than pr.kept can be those of the stripped list. If so, the
// last ones that can be are others.
func (p *prover) another(pr *proof, depth int) (bool, error) {
	if err := p.pass(pr.original); err != nil {
		return false, err
	}
	next := len(pr.original.entries)
	for j, first := range slices.Backward(pr.kept) {
		for i := next - 1; i > first; i-- {
			if m, err := p.match(pr, j, i, depth); err != nil || m.ok {
				return m.ok, err
			}
		}
		next = first
	}
	return false, nil
}
