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
}

// A Key is what tells attachments apart.
type Key struct {
	Subject, Digest digest.Digest
	Tag             string
}

// Key returns that of a.
func (a *Attachment) Key() Key { return Key{a.Subject, a.Digest, a.Tag} }

func compareAttachments(a, b Attachment) int {
	return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
}

// A Read reads a manifest or list by its digest. An error that wraps endpoint.ErrNotFound says that
// it is definitely absent.
type Read func(ctx context.Context, d digest.Digest) (endpoint.Document, error)

// A Source is where attachments are looked for.
type Source struct {
	Referrers endpoint.ReferrerSource
	Manifest  Read
	// Held returns what has been read already: that is not read again.
	Held func(digest.Digest) (endpoint.Document, bool)
	// Budget counts everything in flight.
	Budget *semaphore.Weighted
}

// read returns what d names, as it was read already or from the source.
func (s *Source) read(ctx context.Context, d digest.Digest) (endpoint.Document, error) {
	if doc, ok := s.Held(d); ok {
		return doc, nil
	}
	return s.Manifest(ctx, d)
}

// A Question is what is attached to a subject: by a tag, or, if that is "", as referrers.
type Question struct {
	Subject digest.Digest
	Tag     string
	// ArtifactType is the only one of referrers that matters, "" if others do. Without a tag.
	ArtifactType string
}

// An answer is what was found for a question.
type answer struct {
	attached []Attachment
	doc      endpoint.Document // that the tag names; zero for referrers, and if it names nothing
}

// ask asks a source a question. What is listed as a referrer need not be one, nor be there.
func (s *Source) ask(ctx context.Context, q Question) (answer, error) {
	if q.Tag != "" {
		doc, err := s.Referrers.Tagged(ctx, q.Tag)
		switch {
		case errors.Is(err, endpoint.ErrNotFound):
			return answer{}, nil
		case err != nil:
			return answer{}, err
		}
		tagged := Attachment{Subject: q.Subject, Descriptor: imgspecv1.Descriptor{Digest: doc.Digest}, Tag: q.Tag}
		return answer{[]Attachment{tagged}, doc}, nil
	}
	listed, err := endpoint.Listed(s.Referrers.Referrers(ctx, q.Subject, q.ArtifactType))
	if err != nil {
		return answer{}, err
	}
	attached := make([]Attachment, len(listed))
	for i, r := range listed {
		attached[i] = Attachment{Subject: q.Subject, Descriptor: r}
	}
	return answer{attached: attached}, nil
}

// Error says which operation failed, on which object. At which side follows from the function that
// returns it.
type Error struct {
	Op     string // such as "reading tag"
	Object string // a digest, or a tag
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

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
