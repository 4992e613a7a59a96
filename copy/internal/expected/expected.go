// Package expected says what is to be at a destination, by the plan of a copy to it: what
// copy.Verify looks for.
package expected

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// Of returns what is to be at the destination of a plan that was made of choices.
func Of(p *plan.Plan, choices *plan.Choices) inspect.Want {
	want := inspect.Want{Digest: p.Digest, IsList: p.List != nil, Images: p.Names()}
	for _, a := range p.Attached {
		// What is kept for other tools only is there if the destination takes it.
		if a.Decision == plan.Copy && a.Reason.Code != plan.ReasonOriginal {
			want.Attached = append(want.Attached, inspect.Attached{
				Subject: a.Subject, Digest: a.Digest, ArtifactType: a.ArtifactType, Tag: a.Tag, Child: a.Child,
			})
			want.Carried = append(want.Carried, a.Digest)
		}
	}
	want.Attached = append(want.Attached, originals(p)...)
	if p.List != nil {
		want.Lists = p.List.NestedLists()
		want.Blobs = work.Entries(p)
	}
	images, lists := carried(p), []digest.Digest(nil)
	if p.List != nil {
		lists = unchangedLists(p.List)
	}
	switch {
	case choices.RemoveSignatures:
	case choices.RemoveListSignatures:
		want.Signed = images
	default:
		want.Signed = slices.Concat(images, lists)
	}
	want.Carried = slices.Concat(want.Carried, images, lists)
	if p.IfRefused != nil {
		other := Of(p.IfRefused, choices)
		want.Else = &other
	}
	return want
}

// originals are the artifacts that are attached to the list that is written, in either form.
func originals(p *plan.Plan) []inspect.Attached {
	var attached []inspect.Attached
	for _, a := range p.Original.Artifacts() {
		is, plain := a.Descriptor(), original.Plain(a)
		attached = append(attached, inspect.Attached{
			Subject: a.Subject(), Digest: is.Digest, ArtifactType: is.ArtifactType, Or: plain.Document.Digest,
		})
	}
	return attached
}

// carried are the distinct images that are written as they are: the others have no signatures to
// carry.
func carried(p *plan.Plan) []digest.Digest {
	stored := p.Stored()
	return slices.DeleteFunc(p.Wanted(), func(d digest.Digest) bool { return !slices.Contains(stored, d) })
}

// unchangedLists are the distinct lists that are written as they are: the others have no signatures
// to carry.
func unchangedLists(top *plan.ListPlan) []digest.Digest {
	var unchanged []digest.Digest
	top.Walk(func(l *plan.ListPlan) {
		if l.Result == l.Digest && !slices.Contains(unchanged, l.Digest) {
			unchanged = append(unchanged, l.Digest)
		}
	})
	return unchanged
}

// LeftOut says what a plan leaves out because it is missing.
func LeftOut(p *plan.Plan) []string {
	if p.List == nil {
		return nil
	}
	var all []string
	p.List.Walk(func(l *plan.ListPlan) {
		for _, in := range l.Instances {
			if in.Missing {
				all = append(all, fmt.Sprintf("missing at the source, and left out: %s (%s)", in.Digest, in.What()))
			}
		}
	})
	return all
}
