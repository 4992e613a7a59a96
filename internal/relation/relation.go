// Package relation says what the entries of a list are to each other: which describe, accelerate or
// replace another one. It is one table, with a row for each kind (table.go), and a function of the
// entries of one list. It does no I/O.
package relation

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Relation is what an entry of a list is to another entry, its subject. "" means that it stands
// for itself.
type Relation string

// The relations.
const (
	// Describes says something about its subject: it has no use without it.
	Describes Relation = "describes"
	// Accelerates makes its subject start faster, for those who can read it: it has no use without
	// it either, and is not what others run.
	Accelerates Relation = "accelerates"
	// Replaces is an image like its subject, for those who prefer it.
	Replaces Relation = "replaces"
)

// A Tie is what one entry of a list is to another. The zero value is that of an entry which stands
// for itself.
type Tie struct {
	Relation Relation
	// Kind is what people call such an entry; "" if and only if Relation is.
	Kind string
	// Named is the digest that says what the subject is, valid, whether or not the list names it;
	// "" if nothing says that.
	Named digest.Digest
	// Subject is Named if an entry of the same list has that digest, and "" otherwise.
	Subject digest.Digest
}

// Follows reports whether an entry has no use without its subject, and so is not an image that
// could be chosen.
func (t Tie) Follows() bool { return t.Relation == Describes || t.Relation == Accelerates }

// Of returns the ties of the entries of a list, in their order.
func Of(instances []manifest.Instance) []Tie {
	ties := make([]Tie, len(instances))
	var listed map[digest.Digest]bool // made when it is needed first
	for i, instance := range instances {
		tie := tieOf(instance)
		if tie.Relation != "" && listed == nil {
			listed = digests(instances)
		}
		if listed[tie.Named] {
			tie.Subject = tie.Named
		}
		ties[i] = tie
	}
	return ties
}

func digests(instances []manifest.Instance) map[digest.Digest]bool {
	listed := make(map[digest.Digest]bool, len(instances))
	for _, instance := range instances {
		listed[instance.Digest] = true
	}
	return listed
}
