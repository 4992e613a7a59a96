package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
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
	// DigestTags are looked for: cosign's tags. Those of the signatures of what Unsigned says are
	// not.
	DigestTags bool
	Unsigned   func(subject digest.Digest) bool
	// Follows reports whether an attachment is copied if its subject is: what is not takes nothing
	// with it. It decides by the artifact type that is listed, if that tells something, before the
	// attachment is read.
	Follows func(Attachment) bool
	// SkipMissing leaves out children of attached lists that are missing; otherwise, they are a
	// *MissingError.
	SkipMissing bool
}

// questions returns what is asked about one subject.
func (c *Choices) questions(subject digest.Digest) []Question {
	var questions []Question
	if c.Referrers {
		q := Question{Subject: subject}
		if len(c.ReferrerTypes) == 1 {
			q.ArtifactType = c.ReferrerTypes[0]
		}
		questions = append(questions, q)
	}
	if !c.DigestTags {
		return questions
	}
	for _, suffix := range []string{digesttag.Signatures, digesttag.Attestations, digesttag.SBOM} {
		tag := digesttag.Name(subject, suffix)
		if tag != "" && (suffix != digesttag.Signatures || !c.Unsigned(subject)) {
			questions = append(questions, Question{Subject: subject, Tag: tag})
		}
	}
	return questions
}

// Found is what is attached to some manifests and lists.
type Found struct {
	// Attachments are distinct, and come after what they are attached to.
	Attachments []Attachment
	// Documents are the manifests and lists that were read to find them.
	Documents []endpoint.Document
	// Warnings are for people: what could not be asked, and what is listed and left out.
	Warnings []string
}

// Find returns what is attached to subjects, to that, and so on. What is listed is read, and is
// what it says itself: a referrer that is not there, or names another subject, is none, and so is
// what a tag names if it is no manifest.
//
// Questions are asked concurrently. Where the source says that it does not tell
// (endpoint.ErrUnknown), that is a warning; any other failure is an *Error. Too much of anything is
// a *LimitError, and a child that is missing a *MissingError. With an error comes what was found
// until then.
func Find(ctx context.Context, src Source, choices Choices, subjects []digest.Digest) (Found, error) {
	f := &finder{
		Source: src, Choices: choices, tree: map[digest.Digest]bool{}, seen: map[Key]bool{},
		read: map[digest.Digest]endpoint.Document{}, missing: map[digest.Digest]bool{},
	}
	for _, d := range subjects {
		f.tree[d] = true
	}
	err := f.find(ctx)
	for _, d := range slices.Sorted(maps.Keys(f.read)) {
		f.found.Documents = append(f.found.Documents, f.read[d])
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
	var questions []Question
	for _, d := range subjects {
		questions = append(questions, f.questions(d)...)
		if err := f.listChildren(d); err != nil {
			return err
		}
	}
	if err := inflight.Ask(ctx, f.Budget, questions, f.ask, f.noteAnswer); err != nil {
		return err
	}
	f.warnUnasked()
	if err := inflight.Ask(ctx, f.Budget, f.unread(), f.Manifest, f.noteManifest); err != nil {
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
		return &Error{"parsing attached list", d.String(), err}
	}
	return f.list(children)
}

// noteAnswer notes what was found for a question, or that it was not answered.
func (f *finder) noteAnswer(q Question, found answer, err error) error {
	op, object, what := "reading referrers of", q.Subject.String(), "referrers"
	if q.Tag != "" {
		op, object, what = "reading tag", q.Tag, "a tag "+q.Tag
	}
	switch {
	case errors.Is(err, endpoint.ErrUnknown):
		f.unasked[q.Subject] = append(f.unasked[q.Subject], unasked{what, err})
		return nil
	case err != nil:
		return &Error{op, object, err}
	case found.doc.Digest != "":
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

// unread returns the distinct candidates that have to be read.
func (f *finder) unread() []digest.Digest {
	var unread []digest.Digest
	listed := map[digest.Digest]bool{}
	for _, c := range f.candidates {
		if _, ok := f.document(c.Digest); ok || listed[c.Digest] || f.missing[c.Digest] || f.otherType(c) {
			continue
		}
		listed[c.Digest] = true
		unread = append(unread, c.Digest)
	}
	return unread
}

// document returns what was read for d, by whomever.
func (f *finder) document(d digest.Digest) (endpoint.Document, bool) {
	if doc, ok := f.read[d]; ok {
		return doc, true
	}
	return f.Held(d)
}

// noteManifest notes the manifest of a candidate, or that it is not there.
func (f *finder) noteManifest(d digest.Digest, doc endpoint.Document, err error) error {
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		f.missing[d] = true
		return nil
	case err != nil:
		return &Error{"reading attachment", d.String(), err}
	}
	return f.hold(doc)
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
	default:
		f.add(a)
	}
	return nil
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
	f.warn("%s, listed as %s of %s, is missing at the source", c.Digest, as, c.Subject)
	return nil
}

// add notes an attachment, once.
func (f *finder) add(a Attachment) {
	if !f.seen[a.Key()] {
		f.seen[a.Key()] = true
		f.found.Attachments = append(f.found.Attachments, a)
	}
}
