package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Limits on what is attached to one copied tree.
const (
	// maxAttachments is how many attachments are listed, whether they turn out to be some or not.
	maxAttachments = 20_000
	// maxDepth is how long a chain of subjects may be: a signature of an SBOM of an image has two.
	maxDepth = 8
	// maxBytes is what their manifests may have in all.
	maxBytes = 64 << 20
)

// Choices say what is looked for.
type Choices struct {
	// Referrers are looked for. The source may leave out those that are not of ReferrerTypes, if
	// there are any; it need not.
	Referrers     bool
	ReferrerTypes []string
	// DigestTags are looked for: cosign's tags, or those with any suffix and without one. Those of
	// the signatures of what Unsigned says are not.
	DigestTags, AnySuffix bool
	Unsigned              func(subject digest.Digest) bool
	// Entries are looked at: those of the subjects that state another one of them as theirs are its
	// referrers, whoever lists them.
	Entries bool
	// Follows reports whether an attachment is copied if its subject is: what is not takes nothing
	// with it. It decides by the artifact type that is listed, if that tells something, before the
	// attachment is read.
	Follows func(Attachment) bool
	// SkipMissing leaves out children of attached lists that are missing; otherwise, they are a
	// *MissingError.
	SkipMissing bool
}

// Found is what is attached to some manifests and lists.
type Found struct {
	// Attachments are distinct, and come after what they are attached to.
	Attachments []Attachment
	// Documents are the manifests and lists that were read to find them, and Elsewhere those of
	// them that were read at Source.Elsewhere, where their blobs are.
	Documents []endpoint.Document
	Elsewhere []digest.Digest
	// Warnings are for people: what could not be asked, and what is listed and left out.
	Warnings []string
}

// Find returns what is attached to subjects, to that, and so on. What is listed is read, and is
// what it says itself: a referrer that is not there, or names another subject, is none, and so is
// what a tag names if it is no manifest.
//
// It is looked for at the source and elsewhere alike, and what both have is the source's. What a
// tag names there is left out if the source's names something else, unless both can be merged.
//
// Questions are asked concurrently. Where many tags would have to be asked for, they are listed in
// place of that, if a place does, and its list is not longer than the questions are worth. Tags
// with any suffix have to be listed: otherwise the error wraps a *TagListError, but for a place
// elsewhere that does not exist. If its answer may also mean that it lists no tags, that is a
// warning.
//
// Where a place says that it does not tell (endpoint.ErrUnknown), that is a warning; any other
// failure is an *Error. Too much of anything is a *LimitError, and a child that is missing a
// *MissingError. With an error comes what was found until then.
func Find(ctx context.Context, src Source, choices Choices, subjects []digest.Digest) (Found, error) {
	f := &finder{
		Source: src, Choices: choices, tree: map[digest.Digest]bool{}, seen: map[Key]bool{},
		read: map[digest.Digest]endpoint.Document{}, missing: map[digest.Digest]bool{}, elsewhere: map[digest.Digest]bool{},
		lists: map[bool]tagList{}, asked: map[Question]bool{}, named: map[string]digest.Digest{},
	}
	for _, d := range subjects {
		f.tree[d] = true
	}
	err := f.find(ctx)
	for _, d := range slices.Sorted(maps.Keys(f.read)) {
		f.found.Documents = append(f.found.Documents, f.read[d])
		if f.elsewhere[d] {
			f.found.Elsewhere = append(f.found.Elsewhere, d)
		}
	}
	return f.found, err
}

// A finder goes from step to step: first to what is attached to the tree, then to what is attached
// to that, and so on.
type finder struct {
	Source
	Choices
	tree map[digest.Digest]bool // that is copied

	found   Found
	seen    map[Key]bool // of those found
	read    map[digest.Digest]endpoint.Document
	bytes   int64 // of manifests that were read
	missing map[digest.Digest]bool
	listed  int // candidates so far, of all steps
	// elsewhere says of what was found elsewhere and not at the source that it was, and of what was
	// found at the source that it was not.
	elsewhere map[digest.Digest]bool
	named     map[string]digest.Digest // by the tags of those found, at the source if there
	lists     map[bool]tagList         // of the places that were asked for one
	asked     map[Question]bool        // to check these lists

	// Of this step only.
	candidates []Attachment
	unasked    map[digest.Digest][]unasked // by subject
}

// unasked is a question that the source did not answer.
type unasked struct {
	what string // was asked for
	err  error
}

func (f *finder) find(ctx context.Context) error {
	asked := map[digest.Digest]bool{}
	step := slices.Sorted(maps.Keys(f.tree))
	for depth := 0; len(step) > 0; depth++ {
		if depth > maxDepth {
			return &LimitError{"depth", maxDepth}
		}
		for _, d := range step {
			asked[d] = true
		}
		before := len(f.found.Attachments)
		if err := f.step(ctx, step); err != nil {
			return err
		}
		step = nil
		for _, a := range f.found.Attachments[before:] {
			if f.Follows(a) && !asked[a.Digest] {
				asked[a.Digest] = true
				step = append(step, a.Digest)
			}
		}
	}
	return nil
}

// step finds what is attached to subjects and was not found before.
func (f *finder) step(ctx context.Context, subjects []digest.Digest) error {
	f.candidates, f.unasked = nil, map[digest.Digest][]unasked{}
	for _, d := range subjects {
		if err := f.listChildren(d); err != nil {
			return err
		}
	}
	if err := f.listTags(ctx, subjects); err != nil {
		return err
	}
	var questions []Question
	for _, d := range subjects {
		for _, elsewhere := range f.places() {
			questions = append(questions, f.questions(d, elsewhere)...)
		}
	}
	if err := inflight.Ask(ctx, f.Budget, questions, f.ask, f.noteAnswer); err != nil {
		return err
	}
	f.warnUnasked()
	if err := f.listEntries(ctx, subjects); err != nil {
		return err
	}
	if err := inflight.Ask(ctx, f.Budget, f.unread(), f.readAny, f.noteManifest); err != nil {
		return err
	}
	slices.SortFunc(f.candidates, compareAttachments)
	for _, c := range f.candidates {
		if err := f.examine(c); err != nil {
			return err
		}
	}
	return nil
}

// listChildren lists the children of d if d is an attached list.
func (f *finder) listChildren(d digest.Digest) error {
	doc, ok := f.document(d)
	if f.tree[d] || !ok || !doc.IsList() {
		return nil
	}
	children, err := childrenOf(doc)
	if err != nil {
		return &Error{"parsing attached list", d.String(), err, f.elsewhere[d]}
	}
	for i := range children {
		children[i].Elsewhere = f.elsewhere[d]
	}
	return f.list(children)
}

// listEntries lists those of subjects that are in the tree, and state what is in it as theirs.
func (f *finder) listEntries(ctx context.Context, subjects []digest.Digest) error {
	if !f.Entries {
		return nil
	}
	var entries []Attachment
	for _, d := range subjects {
		if f.tree[d] {
			entries = append(entries, Attachment{Descriptor: imgspecv1.Descriptor{Digest: d}})
		}
	}
	return inflight.Ask(ctx, f.Budget, entries, f.Source.read, func(a Attachment, doc endpoint.Document, err error) error {
		if errors.Is(err, endpoint.ErrNotFound) {
			return nil // of an entry, the plan says what that means
		}
		if err != nil {
			return &Error{"reading manifest", a.Digest.String(), err, false}
		}
		if _, held := f.document(a.Digest); !held {
			if err := f.hold(doc); err != nil {
				return err
			}
		}
		if a.Subject, _ = Subject(doc); !f.tree[a.Subject] {
			return nil
		}
		return f.list([]Attachment{a})
	})
}

// noteAnswer notes what was found for a question, or that it was not answered.
func (f *finder) noteAnswer(q Question, found answer, err error) error {
	op, object, what := "reading referrers of", q.Subject.String(), "referrers"
	if q.Tag != "" {
		op, object, what = "reading tag", q.Tag, "a tag "+q.Tag
	}
	if q.Elsewhere {
		what += " at " + f.nameOf(true)
	}
	switch {
	case errors.Is(err, endpoint.ErrUnknown):
		f.unasked[q.Subject] = append(f.unasked[q.Subject], unasked{what, err})
	case err != nil:
		return &Error{op, object, err, q.Elsewhere}
	case q.Tag != "" && f.leavesToReferrers(q, found.doc):
		return nil
	case found.doc.Digest != "":
		f.noteWhere(found.doc.Digest, q.Elsewhere)
		if err := f.hold(found.doc); err != nil {
			return err
		}
	}
	return f.list(found.attached)
}

// warnUnasked says of each subject what could not be asked.
func (f *finder) warnUnasked() {
	for _, subject := range slices.Sorted(maps.Keys(f.unasked)) {
		of := f.unasked[subject]
		slices.SortFunc(of, func(a, b unasked) int { return cmp.Compare(a.what, b.what) })
		what := make([]string, len(of))
		for i, u := range of {
			what[i] = u.what
		}
		f.warn("whether %s has %s could not be asked, and is not known: %v", subject, prose.And(what), of[0].err)
	}
}

func (f *finder) warn(format string, args ...any) {
	f.found.Warnings = append(f.found.Warnings, fmt.Sprintf(format, args...))
}

// list adds candidates for the present step.
func (f *finder) list(candidates []Attachment) error {
	if f.listed += len(candidates); f.listed > maxAttachments {
		return &LimitError{"number", maxAttachments}
	}
	f.candidates = append(f.candidates, candidates...)
	return nil
}

// otherType reports whether who lists a candidate says that its type is not selected: then it is
// not read.
func (f *finder) otherType(c Attachment) bool {
	return !endpoint.TellsNothing(c.ArtifactType) && !f.Follows(c)
}

// An unread is a candidate that has to be read, from one of the places that list it.
type unread struct {
	digest            digest.Digest
	source, elsewhere bool
}

// unread returns the distinct candidates that have to be read.
func (f *finder) unread() []unread {
	at := map[digest.Digest]int{}
	var all []unread
	for _, c := range f.candidates {
		if _, ok := f.document(c.Digest); ok || f.missing[c.Digest] || f.otherType(c) {
			continue
		}
		i, listed := at[c.Digest]
		if !listed {
			i = len(all)
			at[c.Digest], all = i, append(all, unread{digest: c.Digest})
		}
		all[i].source, all[i].elsewhere = all[i].source || !c.Elsewhere, all[i].elsewhere || c.Elsewhere
	}
	return all
}

// A located is a document, and where it was read.
type located struct {
	endpoint.Document
	elsewhere bool
}

// readAny reads a candidate from the source, if that lists it and has it, or from elsewhere.
func (f *finder) readAny(ctx context.Context, u unread) (located, error) {
	if u.source {
		doc, err := f.Manifest(ctx, u.digest)
		if !u.elsewhere || !errors.Is(err, endpoint.ErrNotFound) {
			return located{doc, false}, err
		}
	}
	doc, err := f.Elsewhere.Manifest(ctx, u.digest)
	return located{doc, true}, err
}

// document returns what was read for d, by whomever.
func (f *finder) document(d digest.Digest) (endpoint.Document, bool) {
	if doc, ok := f.read[d]; ok {
		return doc, true
	}
	return f.Held(d)
}

// noteManifest notes the manifest of a candidate, or that it is not there.
func (f *finder) noteManifest(u unread, doc located, err error) error {
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		f.missing[u.digest] = true
		return nil
	case err != nil:
		return &Error{"reading attachment", u.digest.String(), err, doc.elsewhere}
	}
	f.noteWhere(u.digest, doc.elsewhere)
	return f.hold(doc.Document)
}

// noteWhere notes where something was found. What is held already is the source's.
func (f *finder) noteWhere(d digest.Digest, elsewhere bool) {
	_, held := f.Held(d)
	before, known := f.elsewhere[d]
	f.elsewhere[d] = elsewhere && !held && (before || !known)
}

// hold keeps the manifest of a candidate.
func (f *finder) hold(doc endpoint.Document) error {
	if f.bytes += int64(len(doc.Bytes)); f.bytes > maxBytes {
		return &LimitError{"bytes of manifests", maxBytes}
	}
	f.read[doc.Digest] = doc
	return nil
}

// examine finds out whether a candidate is what it is listed as.
func (f *finder) examine(c Attachment) error {
	if f.otherType(c) {
		f.add(c)
		return nil
	}
	doc, ok := f.document(c.Digest)
	if !ok {
		return f.absent(c)
	}
	a, err := describe(c, doc)
	switch {
	case err != nil:
		f.warn("%s of %s is left out: %v", c.Digest, c.Subject, err)
	case a.Subject != c.Subject:
		f.warn("%s, listed as a referrer of %s, refers to something else", c.Digest, c.Subject)
	case !f.compatible(a, doc):
		f.warn("the tag %s names %s, and at %s %s, which is left out", a.Tag, f.named[a.Tag], f.Source.Elsewhere.Name, a.Digest)
	default:
		f.add(a)
	}
	return nil
}

// compatible reports whether what a tag names can be made known by it together with what was found
// by it before.
func (f *finder) compatible(a Attachment, doc endpoint.Document) bool {
	first, ok := f.named[a.Tag]
	if a.Tag == "" || !ok || first == a.Digest {
		return true
	}
	before, _ := f.document(first)
	m := Merge(a.Tag, before, doc)
	return !m.Replaced && !m.Kept
}

// absent deals with a candidate that is not there.
func (f *finder) absent(c Attachment) error {
	if c.Child && !f.SkipMissing {
		return &MissingError{List: c.Subject, Child: c.Digest}
	}
	as := "a referrer"
	if c.Child {
		as = "a child"
	}
	f.warn("%s, listed as %s of %s, is missing at %s", c.Digest, as, c.Subject, f.nameOf(c.Elsewhere))
	return nil
}

// add notes an attachment, once.
func (f *finder) add(a Attachment) {
	if !f.seen[a.Key()] {
		f.seen[a.Key()] = true
		a.Elsewhere = f.elsewhere[a.Digest]
		if a.Tag != "" {
			f.named[a.Tag] = a.Digest
		}
		f.found.Attachments = append(f.found.Attachments, a)
	}
}
