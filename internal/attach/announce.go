package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// A Store is how attachments that are known by tags are stored.
type Store struct {
	// Blobs takes the configs of what is merged.
	Blobs BlobStore
	// Read returns what a tag names at the source. Its errors are returned as they are.
	Read Read
	// Put stores doc by calling put, and again after it has brought what the destination says it
	// lacks.
	Put func(ctx context.Context, doc endpoint.Document, put func() error) error
}

// Announced is what was made known at a destination.
type Announced struct {
	// Tags is how many tags name what they are to name.
	Tags int
	// Warnings say which tags do not name any longer what they named, and which do not name what
	// they were to name.
	Warnings []string
	// NotListable are the subjects whose referrers cannot be listed there.
	NotListable []*endpoint.NotListableError
}

// Announce makes attachments known at a destination that has their manifests: referrers by their
// subjects, then the others by their tags. What is known there stays: see Merge. Children need
// nothing. An *Error is about the destination; with an error comes what was made known until then.
func Announce(ctx context.Context, dst Destination, store Store, attached []Attachment) (Announced, error) {
	var out Announced
	referrers := map[digest.Digest][]imgspecv1.Descriptor{}
	var tagged []Attachment
	for _, a := range attached {
		switch {
		case a.Tag != "":
			tagged = append(tagged, a)
		case !a.Child:
			referrers[a.Subject] = append(referrers[a.Subject], a.Descriptor)
		}
	}
	put := func(ctx context.Context, subject digest.Digest) (struct{}, error) {
		return struct{}{}, dst.Referrers.PutReferrers(ctx, subject, referrers[subject])
	}
	notePut := func(subject digest.Digest, _ struct{}, err error) error {
		if no, ok := errors.AsType[*endpoint.NotListableError](err); ok {
			out.NotListable = append(out.NotListable, no)
		} else if err != nil {
			return &Error{Op: "announcing referrers of", Object: subject.String(), Err: err}
		}
		return nil
	}
	subjects := slices.Sorted(maps.Keys(referrers))
	if err := inflight.Ask(ctx, dst.Budget, subjects, put, notePut); err != nil {
		return out, err
	}
	tag := func(ctx context.Context, a Attachment) ([]string, error) { return store.tag(ctx, dst, a) }
	noteTag := func(_ Attachment, warnings []string, err error) error {
		out.Warnings = append(out.Warnings, warnings...)
		if err == nil {
			out.Tags++
		}
		return err
	}
	err := inflight.Ask(ctx, dst.Budget, tagged, tag, noteTag)
	return out, err
}

// tag makes the tag of a name it, too, and says what it does not name any longer, or not at all.
func (s *Store) tag(ctx context.Context, dst Destination, a Attachment) (warnings []string, err error) {
	ours, err := s.Read(ctx, a.Digest)
	if err != nil {
		return nil, err
	}
	err = s.Put(ctx, ours, func() error {
		return dst.Referrers.UpdateTag(ctx, a.Tag, func(there endpoint.Document) (endpoint.Document, error) {
			m := Merge(a.Tag, there, ours)
			if m.Replaced {
				warnings = append(warnings, fmt.Sprintf("tag %s named %s at the destination, and now names %s",
					a.Tag, there.Digest, ours.Digest))
			}
			if kept := m.kept(a.Tag, ours); kept != "" {
				warnings = append(warnings, kept)
			}
			return m.Doc, putConfig(ctx, s.Blobs, m.Config)
		})
	})
	if err != nil {
		return warnings, &Error{Op: "writing tag", Object: a.Tag, Err: err}
	}
	return warnings, nil
}
