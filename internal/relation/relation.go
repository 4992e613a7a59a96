// Package relation says what the entries of a list are to each other: which describe, accelerate or
// replace another one. It is one table, with a row for each kind (table.go), and a function of the
// entries of one list and of the manifests that were read. It does no I/O.
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

// Follows reports whether an entry with the relation has no use without its subject, and so is not
// an image that could be chosen.
func (r Relation) Follows() bool { return r == Describes || r == Accelerates }

// A Tie is what one entry of a list is to another. The zero value is that of an entry which stands
// for itself, as images and lists do.
type Tie struct {
	Relation Relation
	// Kind is what people call such an entry, or one that names a blob; "" for all others.
	Kind string
	// Named is the digest that says what the subject is, valid, whether or not the list names it;
	// "" if nothing says that.
	Named digest.Digest
	// Subject is Named if an entry of the same list has that digest, and "" otherwise.
	Subject digest.Digest
	// Any are the positions of the images for the entry's platform, where nothing else says whose
	// it is: each is as much the subject as the first, Named, and others with their digests are
	// not. Nil where a digest says it. Ties to the same images share it.
	Any []int
}

// Of returns the ties of the entries of a list, in their order. image returns the manifest with a
// digest, nil if it has not been read or is none; a nil function has read nothing.
func Of(instances []manifest.Instance, image func(digest.Digest) *manifest.Image) []Tie {
	if image == nil {
		image = func(digest.Digest) *manifest.Image { return nil }
	}
	l := &list{instances: instances, image: image, rows: make([]*row, len(instances))}
	found, blobs := false, false
	for i, instance := range instances {
		if instance.IsBlob() {
			blobs = true
			continue
		}
		l.rows[i] = rowOf(instance, image)
		found = found || l.rows[i] != nil
	}
	ties := make([]Tie, len(instances))
	if blobs {
		nameBlobs(instances, ties)
	}
	if !found {
		return ties
	}
	l.arrange()
	for i, r := range l.rows {
		if r == nil {
			continue
		}
		if tie, ok := r.subject(l, i); ok {
			tie.Relation, tie.Kind = r.relation, r.kind
			if l.listed[tie.Named] {
				tie.Subject = tie.Named
			}
			ties[i] = tie
		}
	}
	return ties
}

// Unclear reports whether what the instance is to others stands in its manifest alone: it has the
// platform of attestations, or is marked as one, and none of the annotations that say whom it
// describes. Images may look like that, too.
func Unclear(instance manifest.Instance) bool {
	if _, annotated := instance.AttestationOf(); annotated || instance.IsList() || instance.IsBlob() {
		return false
	}
	p := instance.Platform
	return p != nil && p.OS == unknown && p.Architecture == unknown || instance.ArtifactType == attestationType
}

// Accelerator returns the digest of what an annotation of the instance says accelerates it, valid;
// "" if none says so.
func Accelerator(instance manifest.Instance) digest.Digest {
	return annotated(instance, manifest.AnnotationSOCIIndex)
}

// annotated returns the digest in an annotation, "" if there is no valid one.
func annotated(instance manifest.Instance, key string) digest.Digest {
	d := digest.Digest(instance.Annotations[key])
	if d == "" || d.Validate() != nil {
		return ""
	}
	return d
}
