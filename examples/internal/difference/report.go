package difference

import "github.com/opencontainers/go-digest"

// Schema names the JSON form of a Report. The number changes when a reader of the old form would go
// wrong.
const Schema = "mirror.diff/v1"

// A State says how something differs.
type State string

// The states.
const (
	Same    State = "same"
	Changed State = "changed"
	OnlyA   State = "only-a"
	OnlyB   State = "only-b"
	// AbsentA and AbsentB are entries of both lists that name the same, which is not there.
	AbsentA State = "absent-a"
	AbsentB State = "absent-b"
	// Absent is neither here nor there, and no difference.
	Absent State = "absent"
)

// A Relation is what a list or image is to another one.
type Relation string

// The relations.
const (
	BStripped Relation = "b-is-a-stripped" // B is the list A with whole entries taken out
	AStripped Relation = "a-is-b-stripped"
	BEntry    Relation = "b-is-entry-of-a" // B is one of the images that the list A names
	AEntry    Relation = "a-is-entry-of-b"
)

// A Report says what differs between A and B.
type Report struct {
	Schema string `json:"schema"` // Schema
	A      string `json:"a"`
	B      string `json:"b"`
	Same   bool   `json:"same"`
	// Subset is set if B has nothing but what A has, of which it may lack something: tags, entries
	// of lists, what these name, attachments.
	Subset bool    `json:"subset"`
	Images []Image `json:"images"`
	// AttachedTags are the tags of two repositories that are named after digests.
	AttachedTags []Attachment `json:"attachedTags,omitempty"`
}

// An Image is what a tag, or a reference, names at both sides.
type Image struct {
	Tag   string        `json:"tag,omitempty"`
	State State         `json:"state"`
	A     digest.Digest `json:"a,omitempty"`
	B     digest.Digest `json:"b,omitempty"`
	// Relation is what one side is to the other, "" if it is nothing of what has a name. Why says
	// why B's list is not A's with entries taken out; for people.
	Relation Relation `json:"relation,omitempty"`
	Why      string   `json:"why,omitempty"`
	// Compared is set unless nothing but the digests was looked at.
	Compared bool         `json:"compared"`
	Entries  []Entry      `json:"entries,omitempty"`
	Attached []Attachment `json:"attached,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
}

// An Entry is an image, or something else, that a list names, or the only image.
type Entry struct {
	What  string        `json:"what"` // its platform, or what it is; of nested lists, after those of the lists above
	State State         `json:"state"`
	A     digest.Digest `json:"a,omitempty"`
	B     digest.Digest `json:"b,omitempty"`
	// Content says what is in images that differ; nil if not both are there.
	Content *Content `json:"content,omitempty"`
}

// A Content says what is in two images that differ.
type Content struct {
	Config State  `json:"config"` // Same or Changed
	Same   int    `json:"same"`   // layers
	OnlyA  []Blob `json:"onlyA,omitempty"`
	OnlyB  []Blob `json:"onlyB,omitempty"`
}

// A Blob is a layer.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// An Attachment is a referrer, or what a digest tag names.
type Attachment struct {
	What  string        `json:"what"` // what it is, and of what
	State State         `json:"state"`
	A     digest.Digest `json:"a,omitempty"`
	B     digest.Digest `json:"b,omitempty"`
}

// Conclude fills in the schema and what follows from the rest.
func (r *Report) Conclude() {
	r.Schema = Schema
	v := verdict{true, true}
	for i := range r.Images {
		v.image(&r.Images[i])
	}
	v.attached(r.AttachedTags)
	r.Same, r.Subset = v.same, v.subset
}

// Differs reports whether anything differs between the two sides of an image.
func (i *Image) Differs() bool {
	v := verdict{true, true}
	v.image(i)
	return !v.same
}

// A verdict says whether all that was looked at is the same, and whether B at least has nothing
// more.
type verdict struct{ same, subset bool }

func (v *verdict) state(s State, less bool) {
	same := s == Same || s == Absent
	v.same, v.subset = v.same && same, v.subset && (same || less)
}

func (v *verdict) image(i *Image) {
	v.state(i.State, i.State == OnlyA || i.State == Changed && (i.Relation == BStripped || i.Relation == BEntry))
	for _, e := range i.Entries {
		v.state(e.State, e.State == OnlyA || e.State == AbsentB)
	}
	v.attached(i.Attached)
}

func (v *verdict) attached(all []Attachment) {
	for _, a := range all {
		v.state(a.State, a.State == OnlyA)
	}
}
