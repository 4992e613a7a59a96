package plan

import (
	"fmt"
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

// untied returns why an entry without a subject is not selected.
func untied(tie relation.Tie) Reason {
	if tie.Named == "" {
		return Reason{ReasonUntied, "nothing says what it " + string(tie.Relation)}
	}
	return Reason{ReasonUntied, fmt.Sprintf("%s %s, which the list does not name", tie.Relation, prose.Short(tie.Named))}
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
