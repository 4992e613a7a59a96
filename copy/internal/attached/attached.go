// Package attached says what is attached to the images and lists of a plan in the words of package
// attach, which finds it and makes it known, and in those of package plan, which decides about it.
package attached

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
)

// Check refuses transports that know nothing of attachments, before anything is opened. What is
// attached of an original need not be attached at the source.
func Check(choices *plan.Choices, from, to string) error {
	var attached []string
	switch {
	case choices.Attaches():
		attached = []string{from, to}
	case choices.AttachOriginal:
		attached = []string{to}
	}
	for _, name := range attached {
		if !access.Transports[name].Referrers {
			return choices.CannotAttach(fmt.Sprintf("the transport %s knows no referrers; registries, OCI layouts (oci:) and bundles do", name))
		}
	}
	return nil
}

// Choices are those of a copy, for what a plan copies. Signatures that are to stay behind stay
// behind as tags, too.
func Choices(choices *plan.Choices, p *plan.Plan) attach.Choices {
	lists := map[digest.Digest]bool{}
	if p.List != nil {
		p.List.Walk(func(l *plan.ListPlan) { lists[l.Digest] = true })
	}
	unselected := p.Unselected()
	return attach.Choices{
		Referrers: choices.Referrers != plan.NoReferrers, ReferrerTypes: choices.ReferrerTypes, DigestTags: choices.DigestTags,
		Entries:   choices.EntriesAsReferrers,
		AnySuffix: choices.DigestTagSuffixes == plan.AllDigestTags,
		Unsigned: func(d digest.Digest) bool {
			return choices.RemoveSignatures || choices.RemoveListSignatures && lists[d]
		},
		Follows: func(a attach.Attachment) bool {
			decision, _ := choices.Follows(Plannable(a), unselected[a.Digest])
			return decision == plan.Copy
		},
		SkipMissing: choices.MissingInstances == plan.SkipMissing,
	}
}

// Plannable returns an attachment as a plan is made of it.
func Plannable(a attach.Attachment) plan.Attachment {
	return plan.Attachment{
		Subject: a.Subject, Digest: a.Digest, Size: a.Size, MediaType: a.MediaType, ArtifactType: a.ArtifactType,
		Annotations: a.Annotations, Tag: a.Tag, Child: a.Child, Elsewhere: a.Elsewhere,
	}
}

// MayBeCopied returns those attachments of a plan that are copied, or may be: an image that is
// signed stays as it is, which the plan does not know yet, so that what is void may be copied.
func MayBeCopied(p *plan.Plan) []plan.AttachedPlan {
	return slices.DeleteFunc(slices.Clone(p.Attached), func(a plan.AttachedPlan) bool {
		return a.Decision != plan.Copy && a.Reason.Code != plan.ReasonVoid
	})
}

// Of returns the attachments of a plan as they are found and made known.
func Of(planned []plan.AttachedPlan) []attach.Attachment {
	all := make([]attach.Attachment, len(planned))
	for i, a := range planned {
		all[i] = attach.Attachment{Subject: a.Subject, Tag: a.Tag, Child: a.Child, Descriptor: imgspecv1.Descriptor{
			MediaType: a.MediaType, Digest: a.Digest, Size: a.Size, ArtifactType: a.ArtifactType, Annotations: a.Annotations(),
		}}
	}
	return all
}
