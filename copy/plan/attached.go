package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// attach plans what happens to the attachments of the input: they follow their subjects.
func attach(in *Input, p *Plan) {
	if len(in.Attachments) == 0 {
		return
	}
	fate := fates(p)
	unselected := p.Unselected()
	if p.List == nil && in.Choices.Attestations == DropAttestations && in.Tree.list != nil {
		in.Tree.list.Root.Walk(func(n *listtree.Node) {
			for _, instance := range n.Instances {
				unselected[instance.Digest] = true
			}
		})
	}
	for _, d := range in.Changed {
		fate[d] = subjectChanged
	}
	voids := map[digest.Digest]int{}
	// Subjects come before what is attached to them, so that one pass decides about chains too.
	for _, a := range sortAttachments(in.Attachments, fate) {
		ap := AttachedPlan{
			Subject: a.Subject, Digest: a.Digest, Size: a.Size, MediaType: a.MediaType, ArtifactType: a.ArtifactType,
			Tag: a.Tag, Child: a.Child, Elsewhere: a.Elsewhere, Present: a.Present, annotations: a.Annotations,
		}
		if p.Original.signsOriginal(a) {
			ap.Decision, ap.Reason = Copy, Reason{ReasonOriginal, "signs the original " + prose.Short(a.Subject) + ", and is kept for other tools"}
		} else {
			ap.Decision, ap.Reason = in.Choices.attachedFate(a, fate[a.Subject], unselected[a.Digest])
		}
		if ap.Reason.Code == ReasonVoid || ap.Decision == Copy && fate[a.Subject] == subjectTransformed {
			voids[a.Subject]++
		}
		if ap.Decision == Copy && fate[a.Digest] == subjectAbsent {
			fate[a.Digest] = subjectCopied
		}
		p.Attached = append(p.Attached, ap)
	}
	for _, d := range slices.Sorted(maps.Keys(voids)) {
		p.Void = append(p.Void, fmt.Sprintf("what is attached to the %s %s (%d)", fate[d].kind(), d, voids[d]))
	}
}

// A subjectFate is what becomes of something that others are attached to.
type subjectFate int

const (
	subjectAbsent subjectFate = iota
	subjectCopied
	subjectChanged     // a list whose digest will be another one
	subjectTransformed // an image of which that is so, or may be, as far as is known
)

// kind returns what it is that changes.
func (f subjectFate) kind() string {
	if f == subjectTransformed {
		return "image"
	}
	return "list"
}

// fates returns what becomes of the lists and images of a plan. What stays in one place is there,
// whatever becomes of it in others.
func fates(p *Plan) map[digest.Digest]subjectFate {
	fate := map[digest.Digest]subjectFate{}
	become := func(d, result digest.Digest, otherwise subjectFate) {
		if result == d {
			fate[d] = subjectCopied
		} else if fate[d] != subjectCopied {
			fate[d] = otherwise
		}
	}
	if p.List != nil {
		p.List.Walk(func(l *ListPlan) { become(l.Digest, l.Result, subjectChanged) })
	}
	p.each(func(d, result digest.Digest, _ string, _ bool) { become(d, result, subjectTransformed) })
	return fate
}

// Follows decides about an attachment whose subject is copied as it is. unselected is set if it is
// an entry of a list, too, and not copied as that.
func (o *Choices) Follows(a Attachment, unselected bool) (Decision, Reason) {
	return o.attachedFate(a, subjectCopied, unselected)
}

// attachedFate decides about one attachment. What is an entry of a list, too, the selection decides
// about: the attestations of BuildKit state their image as their subject.
func (o *Choices) attachedFate(a Attachment, subject subjectFate, unselected bool) (Decision, Reason) {
	text := "follows " + prose.Short(a.Subject)
	switch {
	case subject == subjectAbsent:
		return Skip, Reason{ReasonSubject, "its subject is not copied"}
	case a.Child:
		return Copy, Reason{ReasonFollows, "belongs to " + prose.Short(a.Subject)}
	case a.Tag == "" && len(o.ReferrerTypes) > 0 && !slices.Contains(o.ReferrerTypes, a.ArtifactType):
		return Skip, Reason{ReasonType, "its artifact type is not selected"}
	case unselected && a.Tag == "":
		return Skip, Reason{ReasonEntry, "an entry of the list, and not copied as that"}
	case subject == subjectCopied:
		return Copy, Reason{ReasonFollows, text}
	case a.Digest == a.Subject:
		return Skip, Reason{ReasonVoid, fmt.Sprintf("it names the %s itself, which changes", subject.kind())}
	case subject == subjectChanged && !o.KeepVoid:
		return Skip, Reason{ReasonVoid, "its subject is a list that changes"}
	case subject == subjectTransformed && o.ChangedSubjects == DropChangedSubjects:
		return Skip, Reason{ReasonVoid, "its subject is an image that changes"}
	}
	return Copy, Reason{ReasonFollows, text + ", although that changes"}
}

// sortAttachments orders attachments: those of what is in fate first, then those of these, and so
// on; those of nothing at the end. Within a step they are ordered by subject, tag and digest.
func sortAttachments(all []Attachment, fate map[digest.Digest]subjectFate) []Attachment {
	of := map[digest.Digest][]Attachment{}
	for _, a := range all {
		of[a.Subject] = append(of[a.Subject], a)
	}
	var ordered []Attachment
	step := slices.Sorted(maps.Keys(fate))
	for len(step) > 0 {
		var next []digest.Digest
		for _, subject := range step {
			own := of[subject]
			delete(of, subject)
			slices.SortFunc(own, CompareAttachments)
			for _, a := range own {
				ordered = append(ordered, a)
				next = append(next, a.Digest)
			}
		}
		step = next
	}
	for _, subject := range slices.Sorted(maps.Keys(of)) {
		own := of[subject]
		slices.SortFunc(own, CompareAttachments)
		ordered = append(ordered, own...)
	}
	return ordered
}

// CompareAttachments orders what is attached to one subject, by tag and digest.
func CompareAttachments(a, b Attachment) int {
	return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
}
