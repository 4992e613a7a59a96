package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// maxSignatures is how many manifests of signatures of one list are read.
const maxSignatures = 200

// A Signing is the manifest of a signature that is attached.
type Signing struct {
	Attachment
	Document endpoint.Document
}

// SignaturesOf are the signatures that are attached to a list, as manifests.
type SignaturesOf struct {
	// Found are distinct and sorted: what cosign's tags with the suffixes .sig and .att name, and
	// referrers of the types of signatures. All are manifests of images.
	Found []Signing
	// Unasked says what could not be asked; nothing is Found in it.
	Unasked Signatures
	// Warnings are for people: what is listed and left out.
	Warnings []string
}

// ReadSignatures reads the manifests of the signatures that are attached to a list, whatever else
// is attached to it, at the source and elsewhere alike.
//
// That a place says that it does not tell (endpoint.ErrUnknown) is Unasked; any other failure is an
// *Error, and too many are a *LimitError.
func ReadSignatures(ctx context.Context, src Source, list digest.Digest) (SignaturesOf, error) {
	r := &signatureReader{list: list, nameOf: src.nameOf, listed: map[digest.Digest]bool{}}
	var questions []Question
	for _, elsewhere := range src.places() {
		questions = append(questions, Question{Subject: list, Elsewhere: elsewhere})
		for _, suffix := range []string{digesttag.Signatures, digesttag.Attestations} {
			if tag := digesttag.Name(list, suffix); tag != "" {
				questions = append(questions, Question{Subject: list, Tag: tag, Elsewhere: elsewhere})
			}
		}
	}
	if err := inflight.Ask(ctx, src.Budget, questions, src.ask, r.noteAnswer); err != nil {
		return r.out, err
	}
	if err := inflight.Ask(ctx, src.Budget, r.referrers, src.read, r.noteReferrer); err != nil {
		return r.out, err
	}
	slices.SortFunc(r.out.Found, func(a, b Signing) int { return compareAttachments(a.Attachment, b.Attachment) })
	slices.Sort(r.out.Warnings)
	return r.out, nil
}

// A signatureReader notes what it is told about one list.
type signatureReader struct {
	list      digest.Digest
	nameOf    func(elsewhere bool) string
	listed    map[digest.Digest]bool
	referrers []Attachment // that may be signatures
	out       SignaturesOf
}

func (r *signatureReader) warn(format string, args ...any) {
	r.out.Warnings = append(r.out.Warnings, fmt.Sprintf(format, args...))
}

// noteAnswer notes what a tag names, and the referrers that may be signatures.
func (r *signatureReader) noteAnswer(q Question, found answer, err error) error {
	what := cmp.Or(q.Tag, "its referrers")
	switch {
	case errors.Is(err, endpoint.ErrUnknown):
		if r.out.Unasked.Unknown == "" || !r.out.Unasked.Unanswered {
			r.out.Unasked = UnknownSignatures(what, err)
		}
	case err != nil:
		return &Error{"reading signatures by " + what + " of", r.list.String(), err, q.Elsewhere}
	}
	for _, a := range found.attached {
		switch {
		case r.listed[a.Digest]:
			continue
		case a.Tag != "":
			if err := r.note(a, found.doc); err != nil {
				return err
			}
		case isSignatureType(a.ArtifactType) || endpoint.TellsNothing(a.ArtifactType):
			r.referrers = append(r.referrers, a)
		}
		r.listed[a.Digest] = true
	}
	if len(r.referrers) > maxSignatures {
		return &LimitError{"referrers of a list that may be signatures", maxSignatures}
	}
	return nil
}

// noteReferrer notes a referrer that may be a signature.
func (r *signatureReader) noteReferrer(a Attachment, doc endpoint.Document, err error) error {
	if errors.Is(err, endpoint.ErrNotFound) {
		r.warn("%s, listed as a referrer of %s, is missing at %s", a.Digest, a.Subject, r.nameOf(a.Elsewhere))
		return nil
	}
	if err != nil {
		return &Error{"reading attachment", a.Digest.String(), err, a.Elsewhere}
	}
	return r.note(a, doc)
}

// note notes a manifest if it is that of a signature.
func (r *signatureReader) note(a Attachment, doc endpoint.Document) error {
	says, err := describe(a, doc)
	switch {
	case err != nil:
		r.warn("%s, which may be a signature of %s, is left out: %v", a.Digest, r.list, err)
	case a.Tag == "" && !isSignatureType(says.ArtifactType):
	case says.Subject != r.list:
		r.warn("%s, listed as a referrer of %s, refers to something else", a.Digest, r.list)
	case doc.IsList():
		r.warn("%s, which signs %s, is left out: it is a list", a.Digest, r.list)
	default:
		r.out.Found = append(r.out.Found, Signing{says, doc})
	}
	return nil
}
