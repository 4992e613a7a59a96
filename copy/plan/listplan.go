package plan

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A ListPlan says what happens to one list.
type ListPlan struct {
	Digest    digest.Digest  `json:"digest"` // at the source
	MediaType string         `json:"mediaType"`
	Size      int64          `json:"size"`
	Instances []InstancePlan `json:"instances"`
	// Edits make the list that is written out of the one at the source, but for its format: they
	// are made before a conversion to Docker's, and after one to OCI's. Empty if its entries stay
	// as they are, or if it is not known yet what becomes of its images.
	Edits []manifest.ListEdit `json:"-"`
	// Result and ResultSize describe the list that is written; "" and 0 until it is known what
	// becomes of the images that are transformed.
	Result     digest.Digest `json:"result"`
	ResultSize int64         `json:"resultSize"`
	// ResultType is the media type of the list that is written. Transform is why it is written in
	// another format than the one at the source, once it has been edited; "" if it is not.
	ResultType string `json:"resultMediaType"`
	Transform  string `json:"transform,omitempty"`
	// Variants are the entries that are added, in the order of the images that they are made of.
	Variants []VariantPlan `json:"variants,omitempty"`
	// Absent are the distinct children that the written list names and that will not be at the
	// destination.
	Absent []digest.Digest `json:"absent,omitempty"`

	// A plan that was read from JSON has none of these.
	node   *listtree.Node
	copies []digest.Digest
	result []byte
	notes  []string // warnings that are about this list
}

// List returns the list at the source, which is not to be edited; nil if the plan was read from
// JSON.
func (l *ListPlan) List() manifest.List {
	if l.node == nil {
		return nil
	}
	return l.node.List
}

// Copies returns the distinct images of this list that are copied, in first-seen order, those that
// are at the destination already included; nil if the plan was read from JSON.
func (l *ListPlan) Copies() []digest.Digest { return l.copies }

// Written returns the list that is written, which is not to be modified; nil if the plan was read
// from JSON.
func (l *ListPlan) Written() []byte { return l.result }

// Everything reports whether every entry of the list is copied. It does not look into nested lists.
func (l *ListPlan) Everything() bool {
	return !slices.ContainsFunc(l.Instances, func(ip InstancePlan) bool { return ip.Decision != Copy })
}

// Decision says what happens to an instance.
type Decision string

// The decisions about an instance.
const (
	// Copy copies the instance. What is at the destination already is not copied again.
	Copy Decision = "copy"
	// Skip does not.
	Skip Decision = "skip"
)

// EntryDecision says what happens to an entry of a list.
type EntryDecision string

// The decisions about an entry.
const (
	// KeepEntry leaves the entry as it is.
	KeepEntry EntryDecision = "keep"
	// StripEntry removes it.
	StripEntry EntryDecision = "strip"
	// UpdateEntry gives it the digest, size and media type of what its nested list or image
	// becomes, or marks it as one that needs zstd, or both.
	UpdateEntry EntryDecision = "update"
)

// An InstancePlan says what happens to one instance of a list, and to its entry.
type InstancePlan struct {
	Index         int           `json:"index"`
	Digest        digest.Digest `json:"digest"`
	Size          int64         `json:"size"`
	MediaType     string        `json:"mediaType"`
	ArtifactType  string        `json:"artifactType,omitempty"`
	Platform      string        `json:"platform"`
	AttestationOf digest.Digest `json:"attestationOf,omitempty"`

	// Relation is what the entry is to another one, the Subject; "" if it stands for itself. Kind
	// is what people call it then: "attestation", "SOCI index", "Nydus image" or "zstd twin". An
	// entry that is no manifest has the Kind "cache layer", "cache config" or "layer", and one that
	// is known to be no image KindArtifact. Subject is "" if this list does not name it.
	Relation Relation      `json:"relation,omitempty"`
	Kind     string        `json:"kind,omitempty"`
	Subject  digest.Digest `json:"subject,omitempty"`

	Decision Decision      `json:"decision"`
	Entry    EntryDecision `json:"entry"`
	Reason   Reason        `json:"reason"`
	// Transform is why the instance, an image, is transformed; "" if it is carried as it is. Became
	// is what it becomes, nil until that is known.
	Transform string  `json:"transform,omitempty"`
	Became    *Became `json:"became,omitempty"`
	// Marked is set if the entry gets the annotation that says that its image needs zstd.
	Marked bool `json:"marked,omitempty"`
	// Present is set if the instance, or what it becomes, is known to be at the destination.
	Present bool `json:"present,omitempty"`
	// Missing is set if the instance was selected and is missing at the source.
	Missing bool `json:"missing,omitempty"`
	// Nested is set if the entry names a list that was read.
	Nested *ListPlan `json:"nested,omitempty"`
}

// Walk calls f for l and for every list nested in it that is copied.
func (l *ListPlan) Walk(f func(*ListPlan)) {
	f(l)
	for i := range l.Instances {
		if ip := &l.Instances[i]; ip.Nested != nil && ip.Decision == Copy {
			ip.Nested.Walk(f)
		}
	}
}

// NestedLists returns the distinct digests of the nested lists that are written, as they are
// written. It leaves out what is not known yet.
func (l *ListPlan) NestedLists() []digest.Digest {
	var nested []digest.Digest
	seen := map[digest.Digest]bool{}
	l.Walk(func(below *ListPlan) {
		if below != l && below.Result != "" && !seen[below.Result] {
			seen[below.Result] = true
			nested = append(nested, below.Result)
		}
	})
	return nested
}

// Needs returns what has to be stored before l, if it is copied: its subject and its children, but
// for blobs.
func (l *ListPlan) Needs() []digest.Digest {
	needs := []digest.Digest{l.node.List.Subject()}
	for _, ip := range l.Instances {
		if ip.Decision == Copy && !ip.IsBlob() {
			needs = append(needs, ip.Result())
		}
	}
	for i := range l.Variants {
		needs = append(needs, l.Variants[i].Result())
	}
	return needs
}

// IsBlob reports whether the instance is no manifest but a blob, which is copied as such.
func (ip *InstancePlan) IsBlob() bool { return manifest.IsBlobMediaType(ip.MediaType) }

// isImage reports whether the instance is no list and no blob.
func (ip *InstancePlan) isImage() bool {
	return ip.Nested == nil && !ip.IsBlob() && !manifest.IsListMediaType(ip.MediaType)
}

// NamesBlobs reports whether an entry of the list names a blob in the place of a manifest. Nothing
// is stripped from such a list.
func (l *ListPlan) NamesBlobs() bool {
	for i := range l.Instances {
		if l.Instances[i].IsBlob() {
			return true
		}
	}
	return false
}

// Result returns the digest that the instance has at the destination, and that the list which is
// written names: of a nested list that of what it becomes, of an image that is transformed that of
// what becomes of it. It is "" until that is known.
func (ip *InstancePlan) Result() digest.Digest {
	if ip.Nested != nil {
		return ip.Nested.Result
	}
	return resultOf(ip.Digest, ip.Transform, ip.Became)
}

// changes reports whether the instance is another one at the destination, or may be as far as is
// known.
func (ip *InstancePlan) changes() bool { return ip.Decision == Copy && ip.Result() != ip.Digest }

// mayChange reports whether what is copied as ip may be another document at the destination. That
// an image is transformed is enough, whatever comes of it: what is copied must not depend on what
// only comes out when the rest has been.
func (ip *InstancePlan) mayChange() bool {
	if ip.Nested == nil {
		return ip.Transform != ""
	}
	inner := func(ip InstancePlan) bool { return ip.mayChange() }
	return ip.Nested.Result != ip.Nested.Digest || slices.ContainsFunc(ip.Nested.Instances, inner)
}
