package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/original"
)

// maxCarriers is how many manifests are read to find what carries the original of one list.
const maxCarriers = 1_000

// A Carrier is an artifact of package original, in either form.
type Carrier struct {
	Attachment
	Document endpoint.Document
	Role     original.Role // never RoleNone
}

// Carriers are the artifacts in which the original of one list travels along, with its signatures.
type Carriers struct {
	// Found are distinct, and sorted by their digests. All have the list as their subject. What is
	// in them was not looked at.
	Found []Carrier
	// Unknown is set if a place did not tell, so that there may be more.
	Unknown bool
	// Foreign are listed as carriers of the list, and refer to another one. Sorted.
	Foreign []digest.Digest
	// Warnings are for people: what could not be asked, and what is listed and left out.
	Warnings []string
}

// FindCarriers finds the artifacts in which the original of a list travels along, at the source and
// elsewhere alike: among its referrers, and by the tag that AnnounceCarriers writes where these
// cannot be listed.
//
// Where a place says that it does not tell (endpoint.ErrUnknown), that is a warning; any other
// failure is an *Error, and too many are a *LimitError.
func FindCarriers(ctx context.Context, src Source, list digest.Digest) (Carriers, error) {
	nameOf := func(elsewhere bool) string { return src.at(elsewhere).Name } // which need not be a source
	f := &carrierFinder{list: list, nameOf: nameOf, listed: map[digest.Digest]bool{}}
	var questions []Question
	for _, elsewhere := range src.places() {
		questions = append(questions, Question{Subject: list, Elsewhere: elsewhere})
		if tag := digesttag.Name(list, digesttag.Originals); tag != "" {
			questions = append(questions, Question{Subject: list, Tag: tag, Elsewhere: elsewhere})
		}
	}
	if err := inflight.Ask(ctx, src.Budget, questions, src.ask, f.noteAnswer); err != nil {
		return f.out, err
	}
	if err := inflight.Ask(ctx, src.Budget, f.candidates, src.read, f.noteManifest); err != nil {
		return f.out, err
	}
	slices.SortFunc(f.out.Found, func(a, b Carrier) int { return cmp.Compare(a.Digest, b.Digest) })
	slices.Sort(f.out.Foreign)
	slices.Sort(f.out.Warnings)
	return f.out, nil
}

// A carrierFinder notes what it is told about one list.
type carrierFinder struct {
	list       digest.Digest
	nameOf     func(elsewhere bool) string
	listed     map[digest.Digest]bool
	candidates []Attachment
	bytes      int // of those found
	out        Carriers
}

func (f *carrierFinder) warn(format string, args ...any) {
	f.out.Warnings = append(f.out.Warnings, fmt.Sprintf(format, args...))
}

// noteAnswer notes what may be a carrier by the type that it is listed with.
func (f *carrierFinder) noteAnswer(q Question, found answer, err error) error {
	what := cmp.Or(q.Tag, "its referrers")
	_, notListable := errors.AsType[*endpoint.NotListableError](err)
	switch {
	case notListable: // that is what the tag is for
	case errors.Is(err, endpoint.ErrUnknown):
		f.out.Unknown = true
		f.warn("whether the original of %s is attached to it could not be asked, and is not known: %s at %s: %v", f.list, what, f.nameOf(q.Elsewhere), err)
	case err != nil:
		return &Error{"looking for the original by " + what + " of", f.list.String(), err, q.Elsewhere}
	}
	candidates := found.attached
	if q.Tag != "" && found.doc.Digest != "" {
		if candidates, err = childrenOf(found.doc); err != nil {
			f.warn("the tag %s at %s does not list what carries the original of %s: %v", q.Tag, f.nameOf(q.Elsewhere), f.list, err)
			return nil
		}
	}
	for _, c := range candidates {
		if f.listed[c.Digest] || !endpoint.TellsNothing(c.ArtifactType) && original.KindOf(c.ArtifactType, nil) == original.RoleNone {
			continue
		}
		f.listed[c.Digest] = true
		f.candidates = append(f.candidates, Attachment{Subject: f.list, Descriptor: c.Descriptor, Elsewhere: q.Elsewhere})
	}
	if len(f.candidates) > maxCarriers {
		return &LimitError{"number of referrers that may carry the original of a list", maxCarriers}
	}
	return nil
}

// noteManifest notes a manifest if it is that of a carrier of this list.
func (f *carrierFinder) noteManifest(c Attachment, doc endpoint.Document, err error) error {
	switch {
	case errors.Is(err, endpoint.ErrNotFound):
		f.warn("%s, listed as a referrer of %s, is missing at %s", c.Digest, f.list, f.nameOf(c.Elsewhere))
		return nil
	case err != nil:
		return &Error{"reading attachment", c.Digest.String(), err, c.Elsewhere}
	}
	a, err := describe(c, doc)
	if err != nil {
		f.warn("%s of %s is left out: %v", c.Digest, f.list, err)
		return nil
	}
	role := original.KindOf(a.ArtifactType, a.Annotations)
	switch {
	case role == original.RoleNone:
	case a.Subject != f.list:
		f.out.Foreign = append(f.out.Foreign, a.Digest)
		f.warn("%s, listed as a referrer of %s, refers to something else", a.Digest, f.list)
	default:
		f.out.Found = append(f.out.Found, Carrier{a, doc, role})
		if f.bytes += len(doc.Bytes); f.bytes > maxBytes {
			return &LimitError{"bytes of manifests", maxBytes}
		}
	}
	return nil
}

// AnnounceCarriers makes artifacts, whose manifests the destination has, known as what carries the
// original of a list: as its referrers, or by a tag of its own where these cannot be listed, as at
// GitLab. What is known there stays. An error is an *Error.
func AnnounceCarriers(ctx context.Context, dst Destination, list digest.Digest, carriers []imgspecv1.Descriptor) error {
	err := dst.Referrers.PutReferrers(ctx, list, carriers)
	_, notListable := errors.AsType[*endpoint.NotListableError](err)
	if tag := digesttag.Name(list, digesttag.Originals); notListable && tag != "" {
		err = dst.Referrers.UpdateTag(ctx, tag, func(there endpoint.Document) (endpoint.Document, error) {
			if there.Digest != "" && !endpoint.IsReferrersList(there) {
				return there, fmt.Errorf("the tag %s names something else, %s", tag, there.Digest)
			}
			return endpoint.WithReferrers(there, carriers)
		})
	}
	if err != nil {
		return &Error{Op: "announcing the original of", Object: list.String(), Err: err}
	}
	return nil
}
