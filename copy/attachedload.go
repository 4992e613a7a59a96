package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Limits on what is attached to one copied tree.
const (
	// maxAttachments is the number of attachments.
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

// digestTagSuffixes are those of cosign's tags (its documentation, "Registry details").
var digestTagSuffixes = []string{".sig", ".att", ".sbom"}

// An attachmentLoader finds what is attached to a copied tree.
type attachmentLoader struct {
	*job
	src endpoint.ReferrerSource

	mu    sync.Mutex // guards what follows
	found []Attachment
	seen  map[string]bool // subject, digest and tag
	bytes int64
}

// loadAttachments finds the referrers and digest tags of everything that is copied, and theirs in turn, and plans anew.
func (j *job) loadAttachments(ctx context.Context) error {
	if !j.o.attachments() {
		return nil
	}
	src, ok := j.src.(endpoint.ReferrerSource)
	if !ok {
		return &OptionsError{[]string{"Referrers", "DigestTags"}, fmt.Sprintf("the source %s cannot tell what is attached", j.in.Source)}
	}
	l := &attachmentLoader{job: j, src: src, seen: map[string]bool{}}
	step := sortedKeys(j.plan.subjects())
	for depth := 0; len(step) > 0; depth++ {
		if depth > maxAttachmentDepth {
			return &Error{"reading attachments of", SourceSide, j.in.Source, &AttachmentLimitError{"depth", maxAttachmentDepth}}
		}
		before := len(l.found)
		if err := concurrently(ctx, j.budget, step, l.subject); err != nil {
			return err
		}
		step = nil
		for _, a := range l.found[before:] {
			if !slices.Contains(step, a.Digest) {
				step = append(step, a.Digest)
			}
		}
	}
	j.in.Attachments = l.found
	if err := j.compareAttachments(ctx); err != nil {
		return err
	}
	return j.replanAttached()
}

// replanAttached makes the plan anew with its attachments. What the destination has may have made it another one than the input says.
func (j *job) replanAttached() error {
	if !j.settled {
		return j.replan()
	}
	j.plan.attach(&j.in)
	return j.plan.count(j.in.Documents)
}

// subject finds what is attached to one manifest.
func (l *attachmentLoader) subject(ctx context.Context, d digest.Digest) error {
	if l.o.Referrers != NoReferrers {
		if err := l.referrers(ctx, d); err != nil {
			return err
		}
	}
	if l.o.DigestTags {
		for _, suffix := range digestTagSuffixes {
			if err := l.tag(ctx, d, endpoint.ReferrersTag(d)+suffix); err != nil {
				return err
			}
		}
	}
	return l.children(ctx, d)
}

// referrers reads the referrers of d. One that is listed and is not there, or has another subject, is none.
func (l *attachmentLoader) referrers(ctx context.Context, d digest.Digest) error {
	listed, err := l.src.Referrers(ctx, d)
	if err != nil {
		return &Error{"reading referrers of", SourceSide, d.String(), err}
	}
	for _, r := range listed {
		doc, err := l.read(ctx, r.Digest)
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			l.reporter.warn(fmt.Sprintf("%s, listed as a referrer of %s, is missing at the source", r.Digest, d))
			continue
		case err != nil:
			return &Error{"reading referrer", SourceSide, r.Digest.String(), err}
		}
		a, err := describe(d, r.Digest, doc)
		if err != nil {
			return &Error{"reading referrer", SourceSide, r.Digest.String(), err}
		}
		if a.Subject != d {
			l.reporter.warn(fmt.Sprintf("%s, listed as a referrer of %s, refers to something else", r.Digest, d))
			continue
		}
		if err := l.add(a); err != nil {
			return err
		}
	}
	return nil
}

// tag reads what one of the tags of d names, if it is there.
func (l *attachmentLoader) tag(ctx context.Context, d digest.Digest, tag string) error {
	doc, err := l.src.Tagged(ctx, tag)
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		return nil
	case err != nil:
		return &Error{"reading tag", SourceSide, tag, err}
	}
	read := Document{MediaType: doc.MediaType, Bytes: doc.Bytes}
	read.MediaType = mediaTypeOf(read)
	if err := l.hold(doc.Digest, read); err != nil {
		return err
	}
	a, err := describe(d, doc.Digest, read)
	if err != nil {
		return &Error{"reading tag", SourceSide, tag, err}
	}
	a.Subject, a.Tag = d, tag
	return l.add(a)
}

// children adds the children of d if d is an attachment that is a list. They are read with it.
func (l *attachmentLoader) children(ctx context.Context, d digest.Digest) error {
	l.job.mu.Lock()
	doc, ok := l.in.Documents[d]
	l.job.mu.Unlock()
	if !ok || !isList(doc) || l.plan.names(d) {
		return nil
	}
	list, err := manifest.Parse(doc.Bytes, doc.MediaType)
	if err != nil {
		return &Error{"reading attached list", SourceSide, d.String(), err}
	}
	for _, in := range list.Instances() {
		if _, err := l.read(ctx, in.Digest); err != nil {
			return &Error{"reading child of attached list", SourceSide, in.Digest.String(), err}
		}
		err := l.add(Attachment{
			Subject: d, Digest: in.Digest, Size: in.Size, MediaType: in.MediaType, ArtifactType: in.ArtifactType, Child: true,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// names says whether d is one of the plan's own lists or images: what is in them is no attachment.
func (p *Plan) names(d digest.Digest) bool {
	_, ok := p.subjects()[d]
	return ok
}

// read reads a manifest, unless it is held.
func (l *attachmentLoader) read(ctx context.Context, d digest.Digest) (Document, error) {
	if doc, err := l.document(d); err == nil {
		return doc, nil
	}
	doc, err := l.src.Manifest(ctx, d)
	if err != nil {
		return Document{}, err
	}
	read := Document{MediaType: doc.MediaType, Bytes: doc.Bytes}
	read.MediaType = mediaTypeOf(read)
	return read, l.hold(d, read)
}

// hold keeps the manifest of an attachment.
func (l *attachmentLoader) hold(d digest.Digest, doc Document) error {
	l.mu.Lock()
	l.bytes += int64(len(doc.Bytes))
	over := l.bytes > maxAttachmentBytes
	l.mu.Unlock()
	if over {
		return &Error{"reading attachments of", SourceSide, l.in.Source, &AttachmentLimitError{"bytes of manifests", maxAttachmentBytes}}
	}
	l.job.mu.Lock()
	defer l.job.mu.Unlock()
	l.in.Documents[d] = doc
	return nil
}

// add notes an attachment, once.
func (l *attachmentLoader) add(a Attachment) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := attachmentKey(a.Subject, a.Digest, a.Tag)
	if l.seen[key] {
		return nil
	}
	l.seen[key] = true
	l.found = append(l.found, a)
	if len(l.found) > maxAttachments {
		return &Error{"reading attachments of", SourceSide, l.in.Source, &AttachmentLimitError{"number", maxAttachments}}
	}
	return nil
}

// describe returns what a manifest or list says of itself: its subject is the one that it names.
func describe(subject, d digest.Digest, doc Document) (Attachment, error) {
	a := Attachment{Subject: subject, Digest: d, Size: int64(len(doc.Bytes)), MediaType: doc.MediaType}
	if isList(doc) {
		list, err := manifest.Parse(doc.Bytes, doc.MediaType)
		if err != nil {
			return a, err
		}
		a.Subject, a.ArtifactType = list.Subject(), list.ArtifactType()
		return a, nil
	}
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	if err != nil {
		return a, err
	}
	// OCI distribution specification v1.1, "Listing Referrers": the type of the config stands in for an absent artifact type.
	a.Subject, a.ArtifactType, a.Annotations = image.Subject, image.ArtifactType, image.Annotations
	if a.ArtifactType == "" {
		a.ArtifactType = image.Config.MediaType
	}
	return a, nil
}

// compareAttachments asks the destination which attachments it has, and what their tags name there.
func (j *job) compareAttachments(ctx context.Context) error {
	if !j.compare {
		return nil
	}
	dst, ok := j.dst.(endpoint.ReferrerDestination)
	if !ok {
		return nil // attachTo says so
	}
	var digests []digest.Digest
	var tags []string
	for _, a := range j.in.Attachments {
		if a.Tag != "" {
			tags = append(tags, a.Tag)
		}
		if !slices.Contains(digests, a.Digest) {
			digests = append(digests, a.Digest)
		}
	}
	if err := j.askPresent(ctx, digests); err != nil {
		return err
	}
	j.in.PresentTags = map[string]digest.Digest{}
	return concurrently(ctx, j.budget, tags, func(ctx context.Context, tag string) error {
		d, err := dst.Tag(ctx, tag)
		if err != nil {
			return nil // what is not known to be there is written
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		j.in.PresentTags[tag] = d
		return nil
	})
}

// attachTo returns the destination, if it can take attachments.
func (j *job) attachTo() (endpoint.ReferrerDestination, error) {
	dst, ok := j.dst.(endpoint.ReferrerDestination)
	if !ok {
		return nil, &OptionsError{[]string{"Referrers", "DigestTags"}, fmt.Sprintf("the destination %s takes no attachments", j.in.Destination)}
	}
	return dst, nil
}

// attachmentsInTurn returns the attachments to be copied: those that come before what the reference names, so that nobody sees an
// image without them, and those of lists that are still to be accepted, which come after.
func (j *job) attachmentsInTurn() (before, after []AttachedPlan) {
	late := map[digest.Digest]bool{}
	if j.plan.IfRefused != nil {
		j.plan.List.walk(func(l *ListPlan) { late[l.Digest] = true })
	}
	for _, a := range j.plan.toAttach() { // subjects first
		if late[a.Subject] {
			late[a.Digest] = true
			after = append(after, a)
		} else {
			before = append(before, a)
		}
	}
	return before, after
}

// stillWanted returns those of the attachments that the plan still copies: it may have become another one.
func (j *job) stillWanted(attached []AttachedPlan) []AttachedPlan {
	wanted := map[string]bool{}
	for _, a := range j.plan.toAttach() {
		wanted[a.key()] = true
	}
	return slices.DeleteFunc(attached, func(a AttachedPlan) bool { return !wanted[a.key()] })
}

func (a AttachedPlan) key() string { return attachmentKey(a.Subject, a.Digest, a.Tag) }

func attachmentKey(subject, d digest.Digest, tag string) string {
	return strings.Join([]string{subject.String(), d.String(), tag}, " ")
}

// copyAttachments copies attachments, and makes them known at the destination.
func (j *job) copyAttachments(ctx context.Context, attached []AttachedPlan) error {
	if len(attached) == 0 {
		return nil
	}
	dst, err := j.attachTo()
	if err != nil {
		return err
	}
	var images []imageCopy
	var lists []endpoint.Document
	for _, a := range attached {
		doc, err := j.manifest(ctx, a.Digest)
		if err != nil {
			return &Error{"reading attachment", SourceSide, a.Digest.String(), err}
		}
		if isList(Document{MediaType: doc.MediaType, Bytes: doc.Bytes}) {
			lists = append(lists, doc)
			continue
		}
		image, err := j.imageCopy(doc)
		if err != nil {
			return err
		}
		images = append(images, image)
	}
	if err := j.copyImages(ctx, images); err != nil {
		return err
	}
	for _, list := range slices.Backward(lists) { // what they name was found after them
		if err := one(ctx, j.budget, func() error { return dst.PutManifest(ctx, list) }); err != nil {
			return &Error{"writing attached list", DestinationSide, list.Digest.String(), err}
		}
	}
	return j.announceAttachments(ctx, dst, attached)
}

// announceAttachments makes known what was copied: referrers by subject, the others by their tags.
func (j *job) announceAttachments(ctx context.Context, dst endpoint.ReferrerDestination, attached []AttachedPlan) error {
	referrers := map[digest.Digest][]imgspecv1.Descriptor{}
	var tagged []AttachedPlan
	for _, a := range attached {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child:
			referrers[a.Subject] = append(referrers[a.Subject], imgspecv1.Descriptor{
				MediaType: a.MediaType, Digest: a.Digest, Size: a.Size, ArtifactType: a.ArtifactType, Annotations: a.annotations,
			})
		}
	}
	err := concurrently(ctx, j.budget, sortedKeys(referrers), func(ctx context.Context, subject digest.Digest) error {
		if err := dst.PutReferrers(ctx, subject, referrers[subject]); err != nil {
			return &Error{"announcing referrers of", DestinationSide, subject.String(), err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return concurrently(ctx, j.budget, tagged, func(ctx context.Context, a AttachedPlan) error {
		doc, err := j.manifest(ctx, a.Digest)
		if err != nil {
			return err
		}
		if err := dst.PutTag(ctx, a.Tag, doc); err != nil {
			return &Error{"writing tag", DestinationSide, a.Tag, err}
		}
		return nil
	})
}
