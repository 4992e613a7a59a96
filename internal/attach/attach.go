package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// An Attachment is a manifest or list that belongs to another one, its subject: a referrer, what a
// digest tag names, or a child of either.
type Attachment struct {
	Subject digest.Digest
	// Descriptor is what it is listed as; of what Find returns, what it says of itself.
	imgspecv1.Descriptor
	// Tag names it, "" for a referrer or a child.
	Tag string
	// Child is set if the subject is a list, itself attached, that names it.
	Child bool
	// Elsewhere is set if it was found at Source.Elsewhere, and not at the source.
	Elsewhere bool
}

// A Key is what tells attachments apart.
type Key struct {
	Subject, Digest digest.Digest
	Tag             string
}

// Key returns that of a.
func (a *Attachment) Key() Key { return Key{a.Subject, a.Digest, a.Tag} }

func compareAttachments(a, b Attachment) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Tag, b.Tag), later(a.Elsewhere, b.Elsewhere), cmp.Compare(a.Digest, b.Digest))
}

// later orders what is elsewhere after what is at the source.
func later(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// A Read reads a manifest or list by its digest. An error that wraps endpoint.ErrNotFound says that
// it is definitely absent.
type Read func(ctx context.Context, d digest.Digest) (endpoint.Document, error)

// A Place is a repository or layout that has attachments.
type Place struct {
	Name      string // for people
	Referrers endpoint.ReferrerSource
	Manifest  Read
}

// A Source is where attachments are looked for: where the images and lists are that they belong to,
// and in another place, if there is one.
type Source struct {
	Place
	Elsewhere *Place // nil for none
	// Top is what the source's reference names. It may be "", and serves to find lists of tags out
	// that are not complete.
	Top digest.Digest
	// Held returns what has been read already: that is not read again.
	Held func(digest.Digest) (endpoint.Document, bool)
	// Budget counts everything in flight.
	Budget *semaphore.Weighted
}

// at returns the place where something was found, or is looked for.
func (s *Source) at(elsewhere bool) *Place {
	if elsewhere {
		return s.Elsewhere
	}
	return &s.Place
}

// places are the values of at for which there is a place.
func (s *Source) places() []bool {
	if s.Elsewhere == nil {
		return []bool{false}
	}
	return []bool{false, true}
}

// read returns what was found, as it was read already or from where it is.
func (s *Source) read(ctx context.Context, a Attachment) (endpoint.Document, error) {
	if doc, ok := s.Held(a.Digest); ok {
		return doc, nil
	}
	return s.at(a.Elsewhere).Manifest(ctx, a.Digest)
}

// nameOf is what a place is called.
func (s *Source) nameOf(elsewhere bool) string {
	if elsewhere {
		return s.Elsewhere.Name
	}
	return "the source"
}

// A Question is what is attached to a subject: by a tag, or, if that is "", as referrers.
type Question struct {
	Subject digest.Digest
	Tag     string
	// ArtifactType is the only one of referrers that matters, "" if others do. Without a tag.
	ArtifactType string
	Elsewhere    bool // where it is asked
}

// An answer is what was found for a question.
type answer struct {
	attached []Attachment
	doc      endpoint.Document // that the tag names; zero for referrers, and if it names nothing
}

// ask asks a source a question. What is listed as a referrer need not be one, nor be there. With an
// error that wraps endpoint.ErrUnknown comes what was found all the same.
func (s *Source) ask(ctx context.Context, q Question) (answer, error) {
	at := s.at(q.Elsewhere).Referrers
	if q.Tag != "" {
		doc, err := at.Tagged(ctx, q.Tag)
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			return answer{}, nil
		case err != nil:
			return answer{}, err
		}
		tagged := Attachment{Subject: q.Subject, Descriptor: imgspecv1.Descriptor{Digest: doc.Digest}, Tag: q.Tag, Elsewhere: q.Elsewhere}
		return answer{[]Attachment{tagged}, doc}, nil
	}
	listed, err := endpoint.Listed(at.Referrers(ctx, q.Subject, q.ArtifactType))
	attached := make([]Attachment, len(listed))
	for i, r := range listed {
		attached[i] = Attachment{Subject: q.Subject, Descriptor: r, Elsewhere: q.Elsewhere}
	}
	return answer{attached: attached}, err
}

// Error says which operation failed, on which object. At which side follows from the function that
// returns it.
type Error struct {
	Op     string // such as "reading tag"
	Object string // a digest, a tag, or a Place's name
	Err    error
	// Elsewhere is set if it is not the source that failed, but Source.Elsewhere.
	Elsewhere bool
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// TagListError says that the tags of a repository cannot be listed, by which digest tags of any
// suffix are found. Cosign's alone can be asked for one by one.
type TagListError struct{ Err error }

func (e *TagListError) Error() string {
	return fmt.Sprintf("%v; AllDigestTags needs a list of all tags, CosignDigestTags does not", e.Err)
}

func (e *TagListError) Unwrap() error { return e.Err }

// MissingError says that the source does not have what an attached list names.
type MissingError struct {
	List, Child digest.Digest
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s, named by the attached list %s, is missing", e.Child, e.List)
}

// LimitError says that more is attached to what is copied than this package is willing to hold.
// Nothing has been written. The source is hostile or broken; narrow ReferrerTypes, or do without.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("attachments: %s exceeds the limit of %d", e.What, e.Limit)
}
