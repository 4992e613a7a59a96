package plan

import (
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/relation"
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

// tiesOf returns what the entries of a list, and of the lists nested in it, are to each other.
func tiesOf(root *listtree.Node) map[*listtree.Node][]relation.Tie {
	ties := map[*listtree.Node][]relation.Tie{}
	root.Walk(func(n *listtree.Node) { ties[n] = relation.Of(n.Instances) })
	return ties
}
