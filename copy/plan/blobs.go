package plan

import (
	"slices"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/relation"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A list may name blobs in the place of manifests: BuildKit exports caches so. What is left of such
// a list if anything is taken away serves nobody, and what it names has no platform. So all of it
// is copied or nothing, and no entry is stripped.

var (
	reasonEntire    = Reason{ReasonEntire, "in a list that names blobs, which is copied as a whole"}
	reasonElsewhere = Reason{ReasonElsewhere, "a layer that is elsewhere, at its URLs"}
)

// entire decides about the entries of a list that names blobs. The top-level list is wanted, and a
// nested one if it is selected as a whole, or by platforms, or if anything in it is named by its
// digest, or wanted in a list nested in it.
func (s *selector) entire(n *listtree.Node, whole *Reason) []verdict {
	named := s.namedIn(n)
	wanted := named || n == s.root || whole != nil || s.o.ImageListSelection == CopyAllImages || s.suits(n)
	verdicts := make([]verdict, len(n.Instances))
	if !wanted {
		for i := range n.Instances {
			verdicts[i] = verdict{reason: reasonNotSelected}
			if nested := n.Nested[i]; nested != nil {
				verdicts[i] = s.nested(nested, nil, nil)
			}
		}
		if !slices.ContainsFunc(verdicts, func(v verdict) bool { return v.wanted }) {
			return verdicts
		}
	}
	for i, instance := range n.Instances {
		nested := n.Nested[i]
		switch {
		case nested != nil:
			verdicts[i] = s.nested(nested, nil, &reasonEntire)
		case instance.IsBlob() && len(instance.URLs) > 0:
			verdicts[i] = verdict{reason: reasonElsewhere}
		default:
			verdicts[i] = s.settle(verdict{wanted: true, reason: reasonEntire}, instance, relation.Tie{})
		}
	}
	return verdicts
}

// suits reports whether platforms select a nested list that names blobs: they do unless the entries
// that lead to it say that it is for another one.
func (s *selector) suits(n *listtree.Node) bool {
	if len(s.include) == 0 && !s.rest {
		return false
	}
	return slices.ContainsFunc(n.Instances, func(instance manifest.Instance) bool {
		switch {
		case platform.Absent(instance.Platform):
			s.suited = true
			return true
		case firstMatch(s.exclude, instance, relation.Tie{}) != nil:
			return false
		}
		return firstMatch(s.include, instance, relation.Tie{}) != nil || s.rest
	})
}

// namedIn reports whether a digest is selected that a list, or one nested in it, names.
func (s *selector) namedIn(n *listtree.Node) bool {
	named := false
	n.Walk(func(n *listtree.Node) {
		for i, instance := range n.Instances {
			named = s.named(n, i, instance) != nil || named
		}
	})
	return named
}

// entries decides about the entries of n.
func (s *selector) entries(n *listtree.Node, whole *Reason) []verdict {
	if n.HasBlobs {
		return s.entire(n, whole)
	}
	verdicts := make([]verdict, len(n.Instances))
	for i, instance := range n.Instances {
		verdicts[i] = s.entry(n, i, instance, whole)
	}
	s.followers(n, verdicts)
	strand(n, s.ties[n], verdicts)
	return verdicts
}

// counts reports whether the entry is a reason to copy the list that it is in: it is wanted, or it
// would be if it were not elsewhere.
func (v verdict) counts() bool { return v.wanted && !v.lenient || v.reason.Code == ReasonElsewhere }
