package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what is attached to one copied tree.
const (
	// maxAttachments is how many attachments are listed, whether they turn out to be some or not.
	maxAttachments = 20_000
	// maxAttachmentDepth is how long a chain of subjects may be: a signature of an SBOM of an image has two.
	maxAttachmentDepth = 8
	// maxAttachmentBytes is what their manifests may have in all.
	maxAttachmentBytes = 64 << 20
)

// AttachmentLimitError says that more is attached to what is copied than this package is willing to hold. Nothing has been written.
// The source is hostile or broken; narrow ReferrerTypes, or do without.
type AttachmentLimitError struct {
	What  string
	Limit int64
}

func (e *AttachmentLimitError) Error() string {
	return fmt.Sprintf("attachments: %s exceeds the limit of %d", e.What, e.Limit)
}

// digestTagSuffixes are those of the tags that are asked for.
var digestTagSuffixes = []string{digesttag.Signatures, digesttag.Attestations, digesttag.SBOM}

// checkAttachable refuses transports that know nothing of attachments, before anything is opened.
func (c *call) checkAttachable() error {
	if !c.choices.Attaches() {
		return nil
	}
	for _, name := range []string{c.from, c.to} {
		if name != "docker" && name != "oci" {
			return &OptionsError{Options: []string{"Referrers", "DigestTags"}, Reason: fmt.Sprintf("the transport %s knows no referrers", name)}
		}
	}
	return nil
}

// attachedTo returns how the destination is told what is attached.
func (j *job) attachedTo() (endpoint.ReferrerDestination, error) {
	dst, err := endpoint.ReferrersTo(j.dst)
	if err != nil {
		return nil, &OptionsError{Options: []string{"Referrers", "DigestTags"}, Reason: fmt.Sprintf("the destination %s takes no attachments: %v", j.in.Destination, err)}
	}
	return dst, nil
}

// loadAttachments finds the referrers and digest tags of everything that is copied, and theirs in turn; which of them the
// destination has, if it is compared; and plans anew.
func (j *job) loadAttachments(ctx context.Context) error {
	if !j.in.Choices.Attaches() {
		return nil
	}
	src, err := endpoint.ReferrersAt(j.src)
	if err != nil {
		return &OptionsError{Options: []string{"Referrers", "DigestTags"}, Reason: fmt.Sprintf("the source %s does not tell what is attached: %v", j.in.Source, err)}
	}
	if j.compare {
		if _, err := j.attachedTo(); err != nil {
			return err
		}
	}
	l := &attachmentLoader{job: j, src: src, own: j.plan.Subjects(), seen: map[string]bool{}, missing: map[digest.Digest]bool{}}
	if err := l.load(ctx); err != nil {
		return err
	}
	j.in.Attachments = l.found
	if err := j.replan(); err != nil {
		return err
	}
	j.noteCarried()
	if !j.compare {
		return nil
	}
	if err := j.compareAttachments(ctx); err != nil {
		return err
	}
	return j.replan()
}

// An attachmentLoader finds what is attached to a copied tree, step by step: first what is attached to the tree, then what is
// attached to that, and so on. Questions of one step are asked concurrently.
type attachmentLoader struct {
	*job
	src endpoint.ReferrerSource
	own map[digest.Digest]bool // the tree

	found []Attachment
	seen  map[string]bool // those found

	mu         sync.Mutex // guards what follows
	candidates []Attachment
	unasked    map[digest.Digest][]unasked // of the present step, by subject
	listed     int                         // candidates so far, of all steps
	bytes      int64                       // of manifests
	missing    map[digest.Digest]bool
}

func (l *attachmentLoader) load(ctx context.Context) error {
	asked := map[digest.Digest]bool{}
	step := slices.Sorted(maps.Keys(l.own))
	for depth := 0; len(step) > 0; depth++ {
		if depth > maxAttachmentDepth {
			return l.limit("depth", maxAttachmentDepth)
		}
		for _, d := range step {
			asked[d] = true
		}
		found, err := l.step(ctx, step)
		if err != nil {
			return err
		}
		step = nil
		for _, a := range found {
			// What is not copied itself takes nothing with it.
			if decision, _ := l.in.Choices.Follows(a); decision == Copy && !asked[a.Digest] {
				asked[a.Digest] = true
				step = append(step, a.Digest)
			}
		}
	}
	return nil
}

func (l *attachmentLoader) limit(what string, limit int64) error {
	return &Error{"reading attachments of", SourceSide, l.in.Source, &AttachmentLimitError{what, limit}}
}

// unasked is a question that the source did not answer.
type unasked struct {
	what string // was asked for
	err  error
}

// warnUnasked says of each subject what could not be asked.
func (l *attachmentLoader) warnUnasked() {
	for _, subject := range slices.Sorted(maps.Keys(l.unasked)) {
		of := l.unasked[subject]
		slices.SortFunc(of, func(a, b unasked) int { return cmp.Compare(a.what, b.what) })
		what := make([]string, len(of))
		for i, u := range of {
			what[i] = u.what
		}
		l.reporter.warn(fmt.Sprintf("whether %s has %s could not be asked, and is not known: %v", subject, prose.And(what), of[0].err))
	}
}

// A question is what is attached to a subject, by one of its tags, or, if that is "", as a referrer.
type question struct {
	subject digest.Digest
	tag     string
}

// step returns what is attached to subjects and was not found before.
func (l *attachmentLoader) step(ctx context.Context, subjects []digest.Digest) ([]Attachment, error) {
	l.candidates, l.unasked = nil, map[digest.Digest][]unasked{}
	var questions []question
	for _, d := range subjects {
		questions = append(questions, l.questions(d)...)
		if err := l.listChildren(d); err != nil {
			return nil, err
		}
	}
	if err := concurrently(ctx, l.budget, questions, l.ask); err != nil {
		return nil, err
	}
	l.warnUnasked()
	if err := concurrently(ctx, l.budget, l.unread(), l.read); err != nil {
		return nil, err
	}
	slices.SortFunc(l.candidates, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), plan.CompareAttachments(a, b))
	})
	before := len(l.found)
	for _, c := range l.candidates {
		if err := l.examine(c); err != nil {
			return nil, err
		}
	}
	return l.found[before:], nil
}

// questions returns what is asked about one subject. Signatures that are to stay behind stay behind as tags, too.
func (l *attachmentLoader) questions(d digest.Digest) []question {
	var questions []question
	if l.o.Referrers != NoReferrers {
		questions = append(questions, question{subject: d})
	}
	if !l.o.DigestTags {
		return questions
	}
	for _, suffix := range digestTagSuffixes {
		unsigned := l.o.RemoveSignatures || l.o.RemoveListSignatures && isListOf(l.plan, d)
		if tag := digesttag.Name(d, suffix); tag != "" && (suffix != digesttag.Signatures || !unsigned) {
			questions = append(questions, question{d, tag})
		}
	}
	return questions
}

// isListOf says whether d is a list of the plan.
func isListOf(p *Plan, d digest.Digest) bool {
	is := false
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) { is = is || l.Digest == d })
	}
	return is
}

func (l *attachmentLoader) ask(ctx context.Context, q question) error {
	if q.tag != "" {
		return l.askTag(ctx, q)
	}
	listed, err := endpoint.Listed(l.src.Referrers(ctx, q.subject, l.onlyType()))
	if l.noteUnasked(q.subject, "referrers", err) {
		return nil
	}
	if err != nil {
		return &Error{"reading referrers of", SourceSide, q.subject.String(), err}
	}
	candidates := make([]Attachment, len(listed))
	for i, r := range listed {
		candidates[i] = Attachment{Subject: q.subject, Digest: r.Digest, Size: r.Size, MediaType: r.MediaType, ArtifactType: r.ArtifactType}
	}
	return l.list(candidates...)
}

// noteUnasked reports whether err says that the question what subject has was not answered, and keeps that to be told.
func (l *attachmentLoader) noteUnasked(subject digest.Digest, what string, err error) bool {
	if !errors.Is(err, endpoint.ErrUnknown) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unasked[subject] = append(l.unasked[subject], unasked{what, err})
	return true
}

// onlyType is the artifact type that the source may restrict its answers to, "" if there is not exactly one.
func (l *attachmentLoader) onlyType() string {
	if len(l.o.ReferrerTypes) == 1 {
		return l.o.ReferrerTypes[0]
	}
	return ""
}

func (l *attachmentLoader) askTag(ctx context.Context, q question) error {
	doc, err := l.src.Tagged(ctx, q.tag)
	switch {
	case errors.Is(err, endpoint.ErrNotFound), l.noteUnasked(q.subject, "a tag "+q.tag, err):
		return nil
	case err != nil:
		return &Error{"reading tag", SourceSide, q.tag, err}
	}
	if err := l.hold(doc); err != nil {
		return err
	}
	return l.list(Attachment{Subject: q.subject, Digest: doc.Digest, Tag: q.tag})
}

// listChildren lists the children of d if d is attached, and a list.
func (l *attachmentLoader) listChildren(d digest.Digest) error {
	if _, own := l.own[d]; own {
		return nil
	}
	doc, err := l.document(d)
	if err != nil || !doc.IsList() {
		return nil //nolint:nilerr // examine has read all that is to be read
	}
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return &Error{"parsing attached list", SourceSide, d.String(), err}
	}
	for _, in := range list.Instances() {
		err := l.list(Attachment{
			Subject: d, Digest: in.Digest, Size: in.Size, MediaType: in.MediaType, ArtifactType: in.ArtifactType, Child: true,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// list adds candidates for the present step.
func (l *attachmentLoader) list(candidates ...Attachment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listed += len(candidates); l.listed > maxAttachments {
		return l.limit("number", maxAttachments)
	}
	l.candidates = append(l.candidates, candidates...)
	return nil
}

// otherType says whether who lists a candidate says that its type is not selected: then it is not read.
func (l *attachmentLoader) otherType(c Attachment) bool {
	_, reason := l.in.Choices.Follows(c)
	return !endpoint.TellsNothing(c.ArtifactType) && reason.Code == ReasonType
}

// unread returns the distinct candidates that have to be read.
func (l *attachmentLoader) unread() []digest.Digest {
	var unread []digest.Digest
	listed := map[digest.Digest]bool{}
	for _, c := range l.candidates {
		if _, err := l.document(c.Digest); err == nil || listed[c.Digest] || l.missing[c.Digest] || l.otherType(c) {
			continue
		}
		listed[c.Digest] = true
		unread = append(unread, c.Digest)
	}
	return unread
}

// read reads a manifest, and notes one that is not there.
func (l *attachmentLoader) read(ctx context.Context, d digest.Digest) error {
	doc, err := l.job.src.Manifest(ctx, d)
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.missing[d] = true
		return nil
	case err != nil:
		return &Error{"reading attachment", SourceSide, d.String(), err}
	}
	return l.hold(doc)
}

// hold keeps the manifest of a candidate.
func (l *attachmentLoader) hold(doc endpoint.Document) error {
	l.mu.Lock()
	l.bytes += int64(len(doc.Bytes))
	over := l.bytes > maxAttachmentBytes
	l.mu.Unlock()
	if over {
		return l.limit("bytes of manifests", maxAttachmentBytes)
	}
	l.job.mu.Lock()
	defer l.job.mu.Unlock()
	l.in.Documents[doc.Digest] = l.job.hold(doc)
	return nil
}

// examine finds out whether a candidate is what it is listed as. A referrer that is not there, or does not say itself that it is one,
// is none; so is what a tag names if it is no manifest.
func (l *attachmentLoader) examine(c Attachment) error {
	if l.otherType(c) {
		l.add(c)
		return nil
	}
	doc, err := l.document(c.Digest)
	if err != nil {
		return l.absent(c)
	}
	a, err := describe(c, doc)
	switch {
	case err != nil:
		l.reporter.warn(fmt.Sprintf("%s of %s is left out: %v", c.Digest, c.Subject, err))
	case a.Subject != c.Subject:
		l.reporter.warn(fmt.Sprintf("%s, listed as a referrer of %s, refers to something else", c.Digest, c.Subject))
	default:
		l.add(a)
	}
	return nil
}

// absent deals with a candidate that is not there.
func (l *attachmentLoader) absent(c Attachment) error {
	if c.Child && l.o.MissingInstances == FailOnMissing {
		return &MissingError{Missing: []MissingInstance{{Digest: c.Digest, Platform: "named by the attached list " + c.Subject.String()}}}
	}
	as := "a referrer"
	if c.Child {
		as = "a child"
	}
	l.reporter.warn(fmt.Sprintf("%s, listed as %s of %s, is missing at the source", c.Digest, as, c.Subject))
	return nil
}

// add notes an attachment, once.
func (l *attachmentLoader) add(a Attachment) {
	key := attachmentKey(a.Subject, a.Digest, a.Tag)
	if !l.seen[key] {
		l.seen[key] = true
		l.found = append(l.found, a)
	}
}

// describe completes a candidate by what its manifest or list says of itself. A referrer's subject is the one that it names.
func describe(c Attachment, doc Document) (Attachment, error) {
	c.Size, c.MediaType = int64(len(doc.Bytes)), doc.MediaType
	var subject digest.Digest
	if doc.IsList() {
		list, err := manifest.Parse(doc.Bytes, doc.MediaType)
		if err != nil {
			return c, err
		}
		subject, c.ArtifactType, c.Annotations = list.Subject(), list.ArtifactType(), nil
	} else {
		image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
		if err != nil {
			return c, err
		}
		// OCI distribution specification v1.1, "Listing Referrers": the type of the config stands in for an absent artifact type.
		subject, c.ArtifactType, c.Annotations = image.Subject, cmp.Or(image.ArtifactType, image.Config.MediaType), image.Annotations
	}
	if c.Tag == "" && !c.Child {
		c.Subject = subject
	}
	return c, nil
}

// noteCarried notes the signatures that travel as what their tags name, so that they are not written a second time, in another form.
func (j *job) noteCarried() {
	j.carried = map[digest.Digest]map[string]bool{}
	for _, a := range j.plan.Attached {
		if a.Decision != Copy || a.Tag == "" || a.Tag != digesttag.Name(a.Subject, digesttag.Signatures) {
			continue
		}
		doc, err := j.document(a.Digest)
		if err != nil {
			continue
		}
		j.carried[a.Subject] = map[string]bool{}
		if image, err := parseImage(doc); err == nil && image != nil {
			for _, layer := range image.Layers {
				j.carried[a.Subject][attach.LayerKey(layer.MediaType, layer.Digest, layer.Annotations)] = true
			}
		}
	}
	for d, sigs := range j.signatures {
		if j.carries(d, sigs) {
			delete(j.signatures, d)
		}
	}
}

// carries says whether the signatures of d all travel as what its tag names.
func (j *job) carries(d digest.Digest, sigs endpoint.Signatures) bool {
	layers, ok := sigs.Attachable()
	return ok && !slices.ContainsFunc(layers, func(layer imgspecv1.Descriptor) bool {
		return !j.carried[d][attach.LayerKey(layer.MediaType, layer.Digest, layer.Annotations)]
	})
}

// compareAttachments asks the destination which of the attachments to be copied it has, and knows as what they are.
func (j *job) compareAttachments(ctx context.Context) error {
	dst, err := j.attachedTo()
	if err != nil {
		return err
	}
	c := &attachmentComparison{job: j, dst: dst, listed: map[question]bool{}, unlistable: map[digest.Digest]bool{}, known: map[string]bool{}}
	if err := c.compare(ctx); err != nil {
		return err
	}
	for i, a := range j.in.Attachments {
		j.in.Attachments[i].Present = c.known[attachmentKey(a.Subject, a.Digest, a.Tag)]
	}
	return nil
}

// An attachmentComparison collects what the destination has.
type attachmentComparison struct {
	*job
	dst endpoint.ReferrerDestination

	mu         sync.Mutex             // guards what follows
	listed     map[question]bool      // referrers, with the digest in place of the tag
	unlistable map[digest.Digest]bool // subjects whose referrers cannot be listed
	known      map[string]bool        // by attachmentKey
}

func (c *attachmentComparison) compare(ctx context.Context) error {
	var subjects []digest.Digest
	var tagged []AttachedPlan
	asked := map[digest.Digest]bool{}
	for _, a := range c.plan.ToAttach() {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child && !asked[a.Subject]:
			asked[a.Subject] = true
			subjects = append(subjects, a.Subject)
		}
	}
	if err := concurrently(ctx, c.budget, subjects, c.referrers); err != nil {
		return err
	}
	if err := concurrently(ctx, c.budget, tagged, c.tag); err != nil {
		return err
	}
	return c.manifests(ctx)
}

// referrers asks for the referrers of a subject. As with every question about what is there already, an error is no reason to fail.
func (c *attachmentComparison) referrers(ctx context.Context, subject digest.Digest) error {
	there, err := c.dst.Referrers(ctx, subject, "")
	if c.noteNotListable(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unlistable[subject] = true
		return nil
	}
	if err != nil {
		logrus.Debugf("%s does not tell the referrers of %s: %v", c.in.Destination, subject, err)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range there {
		c.listed[question{subject, r.Digest.String()}] = true
	}
	return nil
}

// tag asks what the tag of an attachment names.
func (c *attachmentComparison) tag(ctx context.Context, a AttachedPlan) error {
	there, err := c.dst.Tagged(ctx, a.Tag)
	if err != nil {
		logrus.Debugf("%s does not tell what %s names: %v", c.in.Destination, a.Tag, err)
		return nil
	}
	ours, err := c.manifest(ctx, a.Digest)
	if err != nil {
		return err
	}
	if m := attach.Merge(a.Tag, there, ours); m.Doc.Digest == there.Digest {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.known[attachedKey(a)] = true
	}
	return nil
}

// manifests asks for the manifests of children, and of referrers that are listed, or cannot be: a referrers tag may name what is not there.
func (c *attachmentComparison) manifests(ctx context.Context) error {
	var digests []digest.Digest
	var asked []AttachedPlan
	distinct := map[digest.Digest]bool{}
	for _, a := range c.plan.ToAttach() {
		if a.Tag != "" || !a.Child && !c.unlistable[a.Subject] && !c.listed[question{a.Subject, a.Digest.String()}] {
			continue
		}
		asked = append(asked, a)
		if !distinct[a.Digest] {
			distinct[a.Digest] = true
			digests = append(digests, a.Digest)
		}
	}
	if err := c.askPresent(ctx, digests, c.in.Present); err != nil {
		return err
	}
	for _, a := range asked {
		if c.in.Present[a.Digest] {
			c.known[attachedKey(a)] = true
		}
	}
	return nil
}
