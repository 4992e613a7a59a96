package plan

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
)

// ChildTag returns the tag sha256-<hex>.child of a child that was added to a list, "" if that would
// be too long.
func ChildTag(d digest.Digest) string { return digesttag.Name(d, childSuffix) }

// childSuffix ends the tags of children that were added to a list, sha256-<hex>.child.
const childSuffix = ".child"

// decideWidening decides what becomes of children that the plan adds to lists which the destination
// has, and of those that are added if it refuses the sparse list.
func decideWidening(in *Input, p *Plan) error {
	tagged, err := widened(in, p)
	if err != nil {
		return err
	}
	if p.IfRefused != nil {
		too, err := widened(in, p.IfRefused)
		if err != nil {
			p.IfRefused, p.IfRefusedNot = nil, err.Error()
		}
		tagged = append(tagged, too...)
	}
	p.Widened = slices.Sorted(maps.Keys(setOf(tagged)))
	return nil
}

// widened returns the children that get tags, because the plan adds them to lists which the
// destination has and does not keep together. What the destination does not tell it may have, and
// may lack.
func widened(in *Input, p *Plan) ([]digest.Digest, error) {
	if !in.Sparse.LosesAdded() {
		return nil, nil
	}
	var tagged []digest.Digest
	var refused *WidenError
	p.List.Walk(func(l *ListPlan) {
		there := in.IsStored(l.Result)
		var lacking []digest.Digest
		for _, d := range brought(l) {
			switch {
			case in.IsStored(d) || !there && !in.PresenceUnknown[l.Result]:
			case in.Choices.WidenedChildTags && ChildTag(d) != "":
				tagged = append(tagged, d)
			case there && in.Sparse.Known && !in.PresenceUnknown[d]:
				lacking = append(lacking, d)
			}
		}
		if len(lacking) > 0 && refused == nil {
			refused = &WidenError{l.Result, slices.Sorted(maps.Keys(setOf(lacking))), in.Sparse.Basis + ", and not that children may be added to one that is there"}
		}
	})
	if refused != nil {
		return nil, refused
	}
	return tagged, nil
}

// brought returns the children of the list, as it is written, that are to be at the destination, as
// far as they are known; blobs are none.
func brought(l *ListPlan) []digest.Digest {
	var brought []digest.Digest
	for i := range l.Variants {
		if d := l.Variants[i].Result(); d != "" {
			brought = append(brought, d)
		}
	}
	for _, ip := range l.Instances {
		if d := ip.Result(); ip.Decision == Copy && ip.Entry != StripEntry && !ip.IsBlob() && d != "" {
			brought = append(brought, d)
		}
	}
	return brought
}

// MayWiden reports whether the plan may add children to a list that the destination has: it has
// some of those that a list is to have, and not others.
func MayWiden(in *Input, p *Plan) bool {
	return anyList(in, p, func(_ *ListPlan, there, added bool) bool { return there && added })
}

// Adds reports whether the plan adds children to a list that the destination has, as far as is
// known.
func Adds(in *Input, p *Plan) bool {
	return anyList(in, p, func(l *ListPlan, _, added bool) bool {
		return added && (in.IsStored(l.Result) || in.PresenceUnknown[l.Result])
	})
}

// anyList reports whether is holds for a list of the plan; it is told whether the destination has
// some of its children, and whether some are added.
func anyList(in *Input, p *Plan, is func(l *ListPlan, there, added bool) bool) bool {
	if p.List == nil {
		return false
	}
	any := false
	p.List.Walk(func(l *ListPlan) {
		there, added := false, false
		for _, d := range brought(l) {
			there, added = there || in.IsStored(d), added || !in.IsStored(d)
		}
		any = any || is(l, there, added)
	})
	return any
}
