package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Each image of a plan is carried, byte for byte, or it is transformed: upstream's copy makes
// another one of it, on its own. What comes of that is known afterwards, or from an earlier copy,
// and then the lists that name the image are edited.

// Became is what an image that is transformed is at the destination.
type Became struct {
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // of its manifest, in bytes
	MediaType string        `json:"mediaType"`
}

// A Transform is an image that has to be transformed.
type Transform struct {
	Digest digest.Digest // at the source
	// Format is the compression of a variant that is added beside the image; "" if it is the image
	// itself that changes.
	Format string
	Reason string // for people
}

// A TransformKey says what was transformed, and into what: see Transform.
type TransformKey struct {
	Digest digest.Digest
	Format string
}

// Key returns what the result of t is known by in Input.Transformed.
func (t Transform) Key() TransformKey { return TransformKey{t.Digest, t.Format} }

// A Recalled is an image that an earlier copy has transformed, in the same way.
type Recalled struct {
	MediaType string // of its manifest, at the source
	Reason    string // why it was transformed
}

// A change is what becomes of an image on its way. The zero value is that of one that is carried.
type change struct {
	reason string  // why it is transformed, "" if it is carried
	became *Became // nil until it is known
}

// transforms reports whether images are transformed one by one.
func transforms(in *Input) bool {
	return in.Way != nil && in.Way.reasonInEnds().text == ""
}

// changeOf returns what becomes of the image with the digest d. What was not read is carried, as
// far as is known, unless every image is transformed, or an earlier copy knew better.
func changeOf(in *Input, d digest.Digest) (change, error) {
	if !transforms(in) {
		return change{}, nil
	}
	reason, err := reasonOf(in, d)
	if err != nil || reason == "" {
		return change{}, err
	}
	c := change{reason: reason}
	if doc, ok := in.Transformed[TransformKey{Digest: d}]; ok {
		c.became = becameOf(doc)
	}
	if c.became != nil && c.became.Digest != d && fixes(in, d) {
		return change{}, &CannotModifyError{d, fmt.Sprintf("it %s, and has become %s", reason, c.became.Digest)}
	}
	return c, nil
}

// becameOf says what an image became.
func becameOf(doc Document) *Became {
	return &Became{Digest: cmp.Or(doc.Digest, digest.FromBytes(doc.Bytes)), Size: int64(len(doc.Bytes)), MediaType: doc.Type()}
}

// arrived reports whether the image with the digest d is at the destination as it is to be there.
// That something has the digest which it has at the source says so only of what is carried, which
// is not known of what was not read if images may be asked to be otherwise.
func arrived(in *Input, d digest.Digest, c change) bool {
	switch {
	case c.became != nil:
		return in.Present[c.became.Digest]
	case c.reason != "":
		return false
	case transforms(in) && in.Way.asks(&in.Choices):
		_, read := in.Tree.Document(d)
		return read && in.Present[d]
	}
	return in.Present[d]
}

func resultOf(d digest.Digest, transform string, became *Became) digest.Digest {
	switch {
	case transform == "":
		return d
	case became == nil:
		return ""
	}
	return became.Digest
}

// transform fills in what becomes of the image that ip is, if that is wanted.
func (t *treePlanner) transform(ip *InstancePlan) error {
	if ip.Decision != Copy || !ip.isImage() {
		return nil
	}
	c, err := changeOf(t.in, ip.Digest)
	if err != nil {
		return err
	}
	ip.Transform, ip.Became, ip.Present = c.reason, c.became, arrived(t.in, ip.Digest, c)
	if ip.changes() {
		ip.Entry = UpdateEntry
	}
	return nil
}

// dropVoid skips what is about images of l that may change, and what is about that in turn, if
// nothing void is to be kept. What was named itself stays, and so does a list, which is selected by
// what is in it. A list that names blobs is copied as a whole.
func (t *treePlanner) dropVoid(l *ListPlan) {
	if t.in.Choices.ChangedSubjects != DropChangedSubjects || l.NamesBlobs() {
		return
	}
	about := map[digest.Digest][]*InstancePlan{}
	var changed []digest.Digest
	for i := range l.Instances {
		ip := &l.Instances[i]
		named := ip.Reason.Code == ReasonDigest || ip.Reason.Code == ReasonIndex
		if ip.Decision == Copy && ip.Relation.Follows() && ip.Nested == nil && !named {
			about[ip.Subject] = append(about[ip.Subject], ip)
		}
		if ip.isImage() && ip.mayChange() {
			changed = append(changed, ip.Digest)
		}
	}
	for len(changed) > 0 {
		subject := changed[0]
		changed = changed[1:]
		for _, ip := range about[subject] {
			t.leave(ip, Reason{ReasonVoid, ip.Reason.Text + ", but its subject is transformed"})
			changed = append(changed, ip.Digest)
		}
		delete(about, subject)
	}
}

// ambiguous returns why a list must not be edited although images that it names change: parsers
// read it differently, and may not see what becomes of them. It is "" if it may.
func ambiguous(l *ListPlan) string {
	remarks := l.node.List.Remarks()
	i := slices.IndexFunc(remarks, func(r manifest.Remark) bool { return r.Kind == manifest.Duplicate })
	if i < 0 || !slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.isImage() && ip.changes() }) {
		return ""
	}
	return fmt.Sprintf("parsers read it differently (%s), and images that it names change", remarks[i])
}

// updates returns the edits of the entries of a list that are updated, and whether all of them are
// known.
func (t *treePlanner) updates(l *ListPlan) (updates []manifest.ListEdit, known bool) {
	known = true
	for i := range l.Instances {
		ip := &l.Instances[i]
		edit := manifest.ListEdit{ListOperation: manifest.ListOpUpdate, UpdateIndex: ip.Index, UpdateDigest: ip.Result()}
		switch {
		case ip.Entry != UpdateEntry:
			continue
		case edit.UpdateDigest == "":
			known = false
			continue
		case ip.Nested != nil:
			edit.UpdateSize = ip.Nested.ResultSize
			if ip.Nested.ResultType != ip.Nested.MediaType {
				edit.UpdateMediaType = ip.Nested.ResultType
			}
		default:
			edit.UpdateSize, edit.UpdateMediaType = ip.Became.Size, t.updatedType(ip)
			edit.UpdateAnnotations = originOf(t.in, l, TransformKey{Digest: ip.Digest})
		}
		updates = append(updates, edit)
	}
	return updates, known
}

// updatedType returns the media type that an entry has to state for what its image becomes, "" if
// what it states stays: an entry that states none gets one if the type changes.
func (t *treePlanner) updatedType(ip *InstancePlan) string {
	before := t.in.Recalled[ip.Digest].MediaType
	if doc, read := t.in.Tree.Document(ip.Digest); read {
		before = doc.MediaType
	}
	if ip.MediaType == "" && before == ip.Became.MediaType {
		return ""
	}
	return ip.Became.MediaType
}

// originOf returns the annotations by which an entry of a list says what its image was made of; nil
// if it is not to say so, or cannot.
func originOf(in *Input, l *ListPlan, made TransformKey) map[string]string {
	by := in.Way.Transformations[made.Format]
	if by == "" || l.ResultType != imgspecv1.MediaTypeImageIndex {
		return nil
	}
	return map[string]string{
		manifest.AnnotationTransformedFrom: made.Digest.String(), manifest.AnnotationTransformedBy: by.String(),
	}
}

// originless returns a warning if the entries of a list are to say what their images were made of,
// and cannot.
func originless(in *Input, l *ListPlan) []string {
	changes := func(ip InstancePlan) bool { return ip.changes() }
	if !transforms(in) || len(in.Way.Transformations) == 0 || l.ResultType == imgspecv1.MediaTypeImageIndex {
		return nil
	}
	if len(l.Variants) == 0 && !slices.ContainsFunc(l.Instances, changes) {
		return nil
	}
	return []string{fmt.Sprintf("the list %s does not say what images were made of: Docker's format has no annotations", l.Digest)}
}
