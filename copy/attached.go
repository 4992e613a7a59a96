package copy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// ReferrerAction says which referrers are copied: manifests that refer to what is copied by their subject, such as SBOMs and
// signatures (OCI distribution specification v1.1, "Listing Referrers").
type ReferrerAction int

const (
	// NoReferrers, the default, copies none, and asks for none.
	// Use it when nothing at the destination reads them.
	NoReferrers ReferrerAction = iota
	// AllReferrers copies those of every list and image that is copied, and theirs in turn, as far as ReferrerTypes admits them.
	// Use it for mirrors whose scanners and policy engines are to work.
	AllReferrers
)

// The reasons of attached manifests, beside ReasonFollows.
const (
	ReasonSubject ReasonCode = "subject" // its subject is not copied
	ReasonVoid    ReasonCode = "void"    // its subject is a list that changes: the destination will not have what it names
	ReasonType    ReasonCode = "type"    // not among ReferrerTypes
)

// An Attachment is a manifest or list that belongs to another one without being in a list: a referrer, what one of cosign's
// tags names, or a child of either.
type Attachment struct {
	Subject      digest.Digest
	Digest       digest.Digest
	Size         int64 // in bytes
	MediaType    string
	ArtifactType string
	Annotations  map[string]string
	// Tag names it, "" for a referrer.
	Tag string
	// Child is set if the subject is a list, itself attached, that names it.
	Child bool
	// Present is set if it is known to be at the destination, and known there as what it is: listed as a referrer, unless none can be
	// listed there, or, of what has a tag, all in what the tag names.
	Present bool
}

// An AttachedPlan says what happens to an attachment.
type AttachedPlan struct {
	Subject      digest.Digest `json:"subject"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Tag          string        `json:"tag,omitempty"`
	Child        bool          `json:"child,omitempty"`
	Decision     Decision      `json:"decision"`
	Reason       Reason        `json:"reason"`
	// Present is set if it is known to be at the destination, and known there as what it is.
	Present bool `json:"present,omitempty"`

	annotations map[string]string
}

// attachments says whether anything attached is to be copied.
func (o *Options) attachments() bool { return o.Referrers != NoReferrers || o.DigestTags }

// attach plans what happens to the attachments of the input: they follow their subjects.
func (p *Plan) attach(in *PlanInput) {
	fate := p.subjects()
	voids := map[digest.Digest]int{}
	// Subjects come before what is attached to them, so that one pass decides about chains too.
	for _, a := range sortAttachments(in.Attachments, fate) {
		ap := AttachedPlan{
			Subject: a.Subject, Digest: a.Digest, Size: a.Size, MediaType: a.MediaType, ArtifactType: a.ArtifactType,
			Tag: a.Tag, Child: a.Child, Present: a.Present, annotations: a.Annotations,
		}
		ap.Decision, ap.Reason = in.Options.attachedFate(a, fate[a.Subject])
		if ap.Reason.Code == ReasonVoid {
			voids[a.Subject]++
		}
		if ap.Decision == Copy && fate[a.Digest] == subjectAbsent {
			fate[a.Digest] = subjectCopied
		}
		p.Attached = append(p.Attached, ap)
	}
	for _, d := range sortedKeys(voids) {
		p.Void = append(p.Void, fmt.Sprintf("what is attached to the list %s (%d)", d, voids[d]))
	}
}

// A subjectFate is what becomes of something that others are attached to.
type subjectFate int

const (
	subjectAbsent subjectFate = iota
	subjectCopied
	subjectChanged // a list whose digest will be another one
)

// subjects says what becomes of the lists and images of a plan.
func (p *Plan) subjects() map[digest.Digest]subjectFate {
	fate := map[digest.Digest]subjectFate{}
	if p.List != nil {
		p.List.walk(func(l *ListPlan) {
			fate[l.Digest] = subjectCopied
			if l.Result != l.Digest {
				fate[l.Digest] = subjectChanged
			}
		})
	}
	for _, d := range p.wantedImages() {
		fate[d] = subjectCopied
	}
	return fate
}

// attachedFate decides about one attachment.
func (o *Options) attachedFate(a Attachment, subject subjectFate) (Decision, Reason) {
	text := "follows " + short(a.Subject)
	switch {
	case subject == subjectAbsent:
		return Skip, Reason{ReasonSubject, "its subject is not copied"}
	case a.Child:
		return Copy, Reason{ReasonFollows, "belongs to " + short(a.Subject)}
	case a.Tag == "" && len(o.ReferrerTypes) > 0 && !slices.Contains(o.ReferrerTypes, a.ArtifactType):
		return Skip, Reason{ReasonType, "its artifact type is not selected"}
	case subject == subjectChanged && !o.KeepVoid:
		return Skip, Reason{ReasonVoid, "its subject is a list that changes"}
	case subject == subjectChanged:
		return Copy, Reason{ReasonFollows, text + ", although that changes"}
	}
	return Copy, Reason{ReasonFollows, text}
}

// sortAttachments orders attachments: those of what is in fate first, then those of these, and so on; those of nothing at the end.
// Within a step they are ordered by subject, tag and digest.
func sortAttachments(all []Attachment, fate map[digest.Digest]subjectFate) []Attachment {
	of := map[digest.Digest][]Attachment{}
	for _, a := range all {
		of[a.Subject] = append(of[a.Subject], a)
	}
	var ordered []Attachment
	step := sortedKeys(fate)
	for len(step) > 0 {
		var next []digest.Digest
		for _, subject := range step {
			own := of[subject]
			delete(of, subject)
			slices.SortFunc(own, compareAttachments)
			for _, a := range own {
				ordered = append(ordered, a)
				next = append(next, a.Digest)
			}
		}
		step = next
	}
	for _, subject := range sortedKeys(of) {
		own := of[subject]
		slices.SortFunc(own, compareAttachments)
		ordered = append(ordered, own...)
	}
	return ordered
}

func compareAttachments(a, b Attachment) int {
	return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
}

// toAttach returns the attachments that are to be copied.
func (p *Plan) toAttach() []AttachedPlan {
	return slices.DeleteFunc(slices.Clone(p.Attached), func(a AttachedPlan) bool { return a.Decision != Copy || a.Present })
}
