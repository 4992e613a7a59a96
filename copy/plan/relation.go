package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Relation is what an entry of a list is to another entry of the same list, its subject; "" is an
// entry that stands for itself.
type Relation = relation.Relation

// The relations between entries.
const (
	// Describes is an entry that says something about its subject, such as an attestation.
	Describes = relation.Describes
	// Accelerates is an entry that makes its subject start faster for those who can read it.
	Accelerates = relation.Accelerates
	// Replaces is an image that some run in the place of its subject.
	Replaces = relation.Replaces
)

// tiesOf returns what the entries of a list, and of the lists nested in it, are to each other, as
// far as documents tell.
func tiesOf(root *listtree.Node, documents map[digest.Digest]parsedDocument) map[*listtree.Node][]relation.Tie {
	image := func(d digest.Digest) *manifest.Image { return documents[d].image }
	ties := map[*listtree.Node][]relation.Tie{}
	root.Walk(func(n *listtree.Node) { ties[n] = relation.Of(n.Instances, image) })
	return ties
}

// leading returns which of several images leads what follows any of them: one that a platform
// filter selected, else one that is wanted, and the first of these.
func leading(images []int, verdicts []verdict) int {
	best := images[0]
	for _, i := range images {
		switch v := verdicts[i]; {
		case v.wanted && v.filtered:
			return i
		case v.wanted && !verdicts[best].wanted:
			best = i
		}
	}
	return best
}

// adrift returns those of the entries of n that may follow their subjects, by subject in of, whose
// subjects lead to nothing that stands for itself: entries that follow each other in a circle, or
// what is untied. It takes the others out of of.
func adrift(n *listtree.Node, ties []relation.Tie, verdicts []verdict, of map[digest.Digest][]int) []int {
	var anchored []digest.Digest
	for i, v := range verdicts {
		loose := ties[i].Relation.Follows() && n.Nested[i] == nil && ties[i].Any == nil &&
			(v.reason.Code == ReasonNotSelected || v.reason.Code == ReasonUntied)
		if !loose {
			anchored = append(anchored, n.Instances[i].Digest)
		}
	}
	for len(anchored) > 0 {
		subject := anchored[0]
		anchored = anchored[1:]
		for _, i := range of[subject] {
			anchored = append(anchored, n.Instances[i].Digest)
		}
		delete(of, subject)
	}
	return slices.Concat(slices.Collect(maps.Values(of))...)
}

// strand takes back what accelerates images and was selected along with everything, where the
// images themselves are missing: others would take it for the image of their platform.
func strand(n *listtree.Node, ties []relation.Tie, verdicts []verdict) {
	wanted, missing := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for i, v := range verdicts {
		if d := n.Instances[i].Digest; v.wanted {
			wanted[d] = true
		} else if v.missing {
			missing[d] = true
		}
	}
	if len(missing) == 0 {
		return
	}
	stays := map[*int]bool{} // ties to the same images → whether one is wanted
	for i, tie := range ties {
		whole := verdicts[i].reason.Code == ReasonAll || verdicts[i].reason.Code == ReasonWithin
		if tie.Relation != Accelerates || !whole || !missing[tie.Subject] || wanted[tie.Subject] {
			continue
		}
		if tie.Any != nil {
			stay, ok := stays[&tie.Any[0]]
			if !ok {
				stay = verdicts[leading(tie.Any, verdicts)].wanted
				stays[&tie.Any[0]] = stay
			}
			if stay {
				continue
			}
		}
		verdicts[i] = verdict{reason: Reason{ReasonOrphaned, "what it accelerates is missing at the source"}}
	}
}

// untied returns why an entry that nothing ties to what could be selected is not.
func untied(tie relation.Tie) Reason {
	switch {
	case tie.Named == "":
		return Reason{ReasonUntied, "nothing says what it " + string(tie.Relation)}
	case tie.Subject != "":
		return Reason{ReasonUntied, fmt.Sprintf("%s %s, which belongs to nothing that could be selected", tie.Relation, prose.Short(tie.Named))}
	}
	return Reason{ReasonUntied, fmt.Sprintf("%s %s, which the list does not name", tie.Relation, prose.Short(tie.Named))}
}

// strays counts, for people, what is left behind because it cannot be said whose it is, or because
// it cannot be written as it would have to be.
func strays(ties map[*listtree.Node][]relation.Tie, verdicts map[*listtree.Node][]verdict) []string {
	type stray struct{ kind, why string }
	strays := map[stray]int{}
	for n, of := range verdicts {
		for i, v := range of {
			tie := ties[n][i]
			switch {
			case v.unwritable != "":
				strays[stray{cmp.Or(tie.Kind, KindArtifact), v.unwritable}]++
			case v.reason.Code == ReasonUntied && tie.Subject == "":
				strays[stray{tie.Kind, "the list does not name what they " + strings.TrimSuffix(string(tie.Relation), "s")}]++
			case v.reason.Code == ReasonUntied:
				strays[stray{tie.Kind, "they belong to nothing that could be selected"}]++
			}
		}
	}
	var warnings []string
	for s, n := range strays {
		warnings = append(warnings, fmt.Sprintf("%s are left behind (%d): %s", plural(s.kind), n, s.why))
	}
	return warnings
}

// danglingAccelerators returns, for people, which images of l are copied with an annotation that
// names what accelerates them, while that stays behind. The annotations stay: nothing but whole
// entries goes from a list, and manifests have them, too.
func danglingAccelerators(l *ListPlan) []string {
	left := map[digest.Digest]string{} // digest → kind
	for _, ip := range l.Instances {
		if ip.Relation == Accelerates {
			left[ip.Digest] = ip.Kind
		}
	}
	for _, ip := range l.Instances {
		if ip.Decision == Copy || ip.Present {
			delete(left, ip.Digest)
		}
	}
	var dangling []string
	for i, ip := range l.Instances {
		d := relation.Accelerator(l.node.Instances[i])
		if kind := left[d]; kind != "" && ip.Decision == Copy {
			dangling = append(dangling, fmt.Sprintf("the annotation of %s that names the %s %s, which is not copied", ip.Digest, kind, d))
		}
	}
	return dangling
}

// called returns what people call an entry that is something to another one, of which of is the
// name, "" if it is not known.
func called(kind, of string) string {
	if of == "" {
		return kind
	}
	return kind + " of " + of
}

// plural returns the kind of several entries.
func plural(kind string) string {
	if strings.HasSuffix(kind, "x") {
		return kind + "es"
	}
	return kind + "s"
}
