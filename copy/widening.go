package copy

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// childSuffix ends the tags of children that were added to a list, sha256-<hex>.child.
const childSuffix = ".child"

// WidenError says that a list which the destination has already would get children there that it did not have, and that the destination does not
// keep such: it announces that it takes sparse lists, and not that it takes widening, as Quay does, where children belong to a list only
// if they are there when it is first stored, and others are collected after an hour. Nothing has been written.
// Set Options.WidenedChildTags, copy to a repository that does not have the list, or choose all platforms in the first place.
type WidenError struct {
	List digest.Digest
	// Children are the images and nested lists that would be added, sorted.
	Children []digest.Digest
	// Basis says how it is known that they would not stay.
	Basis string
}

func (e *WidenError) Error() string {
	return fmt.Sprintf("the destination has the list %s already, and does not keep what is added to it: %s (it lacks %s)",
		e.List, e.Basis, someOf(digestStrings(e.Children)))
}

// decideWidening decides what becomes of children that the plan adds to lists which the destination has, and of those that are added if it
// refuses the sparse list.
func (in *PlanInput) decideWidening(p *Plan) error {
	widened, err := in.widened(p)
	if err != nil {
		return err
	}
	if p.IfRefused != nil {
		too, err := in.widened(p.IfRefused)
		if err != nil {
			p.IfRefused, p.IfRefusedNot = nil, err.Error()
		}
		widened = append(widened, too...)
	}
	p.Widened = sortedKeys(setOf(widened))
	return nil
}

// widened returns the children that get tags, because the plan adds them to lists which the destination has and does not keep together. What
// the destination does not tell it may have, and may lack.
func (in *PlanInput) widened(p *Plan) ([]digest.Digest, error) {
	if !in.Sparse.Known || !in.Sparse.Accepts || in.Sparse.Widens {
		return nil, nil
	}
	var tagged []digest.Digest
	var refused *WidenError
	p.List.walk(func(l *ListPlan) {
		there := in.stored(l.Result)
		var lacking []digest.Digest
		for _, d := range l.brought() {
			switch {
			case in.stored(d) || !there && !in.PresenceUnknown[l.Result]:
			case in.Options.WidenedChildTags && digestTag(d, childSuffix) != "":
				tagged = append(tagged, d)
			case there && !in.PresenceUnknown[d]:
				lacking = append(lacking, d)
			}
		}
		if len(lacking) > 0 && refused == nil {
			refused = &WidenError{l.Result, sortedKeys(setOf(lacking)), in.Sparse.Basis + ", and not that children may be added to one that is there"}
		}
	})
	if refused != nil {
		return nil, refused
	}
	return tagged, nil
}

// stored says whether a manifest or list is known to be at the destination, whatever it lacks there.
func (in *PlanInput) stored(d digest.Digest) bool {
	return in.Present[d] || in.Stored[d] || d == in.DestinationTop
}

// brought returns the children of the list, as it is written, that are to be at the destination.
func (l *ListPlan) brought() []digest.Digest {
	var brought []digest.Digest
	for _, ip := range l.Instances {
		switch {
		case ip.Decision != Copy || ip.Entry == StripEntry:
		case ip.Nested != nil:
			brought = append(brought, ip.Nested.Result)
		default:
			brought = append(brought, ip.Digest)
		}
	}
	return brought
}

// mayWiden says whether the plan may add children to a list that the destination has: it has some of those that a list is to have, and not
// others.
func (in *PlanInput) mayWiden(p *Plan) bool {
	return in.anyList(p, func(_ *ListPlan, there, added bool) bool { return there && added })
}

// adds says whether the plan adds children to a list that the destination has, as far as is known.
func (in *PlanInput) adds(p *Plan) bool {
	return in.anyList(p, func(l *ListPlan, _, added bool) bool {
		return added && (in.stored(l.Result) || in.PresenceUnknown[l.Result])
	})
}

// anyList says whether is holds for a list of the plan; it is told whether the destination has some of its children, and whether some are added.
func (in *PlanInput) anyList(p *Plan, is func(l *ListPlan, there, added bool) bool) bool {
	if p.List == nil {
		return false
	}
	any := false
	p.List.walk(func(l *ListPlan) {
		there, added := false, false
		for _, d := range l.brought() {
			there, added = there || in.stored(d), added || !in.stored(d)
		}
		any = any || is(l, there, added)
	})
	return any
}
