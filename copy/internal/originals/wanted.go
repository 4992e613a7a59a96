package originals

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// Wanted reports whether a plan attaches an original, or would if its list were refused.
func Wanted(p *plan.Plan) bool {
	return p.Original != nil && p.Original.Reason == "" || p.IfRefused != nil && Wanted(p.IfRefused)
}

// Lacking returns the artifacts that a plan attaches and that are not known to be at the
// destination; that of the original itself comes first.
func Lacking(p *plan.Plan) []original.Artifact { return artifacts(p, false) }

// Present returns those that are known to be there, in the form in which they are.
func Present(p *plan.Plan) []original.Artifact { return artifacts(p, true) }

func artifacts(p *plan.Plan, present bool) []original.Artifact {
	if p.Original == nil || p.Original.Reason != "" {
		return nil
	}
	var all []original.Artifact
	if p.Original.Present == present {
		all = append(all, formOf(p.Original.Plain).Of(p.Original.Artifact()))
	}
	for _, s := range p.Original.Signatures {
		if s.Present == present {
			all = append(all, formOf(s.Plain).Of(s.Artifact()))
		}
	}
	return all
}

// Unasked returns what the artifacts that a plan lacks are in a form, but for those of which it is
// known whether the destination has them so, or that it does not tell.
func Unasked(p *plan.Plan, as Form, there known.Destination) []digest.Digest {
	var lacking []digest.Digest
	for _, a := range Lacking(p) {
		lacking = append(lacking, as.Of(a).Document.Digest)
	}
	return there.Unasked(lacking)
}

// LackingSignatures returns those of signatures whose artifacts are not known to be at the
// destination.
func LackingSignatures(p *plan.Plan, signatures []original.Signature) []original.Signature {
	if p.Original == nil {
		return nil
	}
	lacks := map[digest.Digest]bool{}
	for _, s := range p.Original.Signatures {
		lacks[s.Of] = !s.Present
	}
	var lacking []original.Signature
	for _, s := range signatures {
		if lacks[s.Digest()] {
			lacking = append(lacking, s)
		}
	}
	return lacking
}
