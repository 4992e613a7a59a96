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
	// Unasked says what could not be asked; Found in it are those that are left out. Among these is
	// the original of the list, if that was stripped already.
	Unasked Signatures
	// Warnings are for people: what is listed and left out.
	Warnings []string
}

// LeaveOut notes that a signature of a list is left out, and why. Of attestations that a tag names,
// it only warns: nobody takes them for signatures.
func (s *SignaturesOf) LeaveOut(list digest.Digest, a Attachment, why string) {
	s.warn("%s, which signs %s, is left out: %s", a.Digest, list, why)
	switch a.Tag {
	case "":
		s.Unasked.Found = append(s.Unasked.Found, referrerName(a.Descriptor))
	case digesttag.Name(list, digesttag.Signatures):
		s.Unasked.Found = append(s.Unasked.Found, "tag "+a.Tag)
	}
}

func (s *SignaturesOf) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// unknown notes that something could not be asked. One such thing is enough for a reader: the one
// that decides.
func (s *SignaturesOf) unknown(what string, err error) {
	if s.Unasked.Unanswered {
		return
	}
	u := UnknownSignatures(what, err)
	s.Unasked.Unknown, s.Unasked.Unanswered = u.Unknown, u.Unanswered
}

// ReadSignatures reads the manifests of the signatures that are attached to a list, whatever else
// is attached to it, at the source and elsewhere alike.
//
// A question that is not answered is Unasked. That something which is listed cannot be read is an
// *Error, and too many are a *LimitError.
func ReadSignatures(ctx context.Context, src Source, list digest.Digest) (SignaturesOf, error) {
	r := &signatureReader{list: list, nameOf: src.nameOf, tagged: map[digest.Digest]endpoint.Document{}}
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
	read := func(ctx context.Context, a Attachment) (endpoint.Document, error) {
		if doc, ok := r.tagged[a.Digest]; ok {
			return doc, nil
		}
		return src.read(ctx, a)
	}
	if err := inflight.Ask(ctx, src.Budget, r.distinct(), read, r.note); err != nil {
		return r.out, err
	}
	slices.SortFunc(r.out.Found, func(a, b Signing) int { return compareAttachments(a.Attachment, b.Attachment) })
	slices.Sort(r.out.Warnings)
	return r.out, nil
}

// A signatureReader notes what it is told about one list.
type signatureReader struct {
	list       digest.Digest
	nameOf     func(elsewhere bool) string
	candidates []Attachment
	tagged     map[digest.Digest]endpoint.Document // those that tags name
	bytes      int64                               // of manifests that were read
	out        SignaturesOf
}

// noteAnswer notes what may be signatures.
func (r *signatureReader) noteAnswer(q Question, found answer, err error) error {
	if err != nil {
		r.out.unknown(cmp.Or(q.Tag, "its referrers"), err)
	}
	for _, a := range found.attached {
		if a.Tag != "" {
			r.tagged[a.Digest] = found.doc
		}
		if a.Tag != "" || isSignatureType(a.ArtifactType) || isOriginal(a.Descriptor) || endpoint.TellsNothing(a.ArtifactType) {
			r.candidates = append(r.candidates, a)
		}
	}
	if len(r.candidates) > maxSignatures {
		return &LimitError{"referrers of a list that may be signatures", maxSignatures}
	}
	return nil
}

// distinct returns what may be signatures, each once: where both places have one, the source's, and
// before a referrer what a tag names.
func (r *signatureReader) distinct() []Attachment {
	slices.SortFunc(r.candidates, func(a, b Attachment) int { return cmp.Or(later(a.Elsewhere, b.Elsewhere), cmp.Compare(b.Tag, a.Tag)) })
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(r.candidates, func(a Attachment) bool {
		before := seen[a.Digest]
		seen[a.Digest] = true
		return before
	})
}

// note notes a manifest if it is that of a signature.
func (r *signatureReader) note(a Attachment, doc endpoint.Document, err error) error {
	if errors.Is(err, endpoint.ErrNotFound) {
		r.out.warn("%s, listed as a referrer of %s, is missing at %s", a.Digest, a.Subject, r.nameOf(a.Elsewhere))
		return nil
	}
	if err != nil {
		return &Error{"reading attachment", a.Digest.String(), err, a.Elsewhere}
	}
	if r.bytes += int64(len(doc.Bytes)); r.bytes > maxBytes {
		return &LimitError{"bytes of manifests", maxBytes}
	}
	says, err := describe(a, doc)
	switch {
	case err != nil && a.Tag == "" && !isSignatureType(a.ArtifactType):
		r.out.unknown("referrer "+a.Digest.String(), err)
	case err != nil:
		r.out.LeaveOut(r.list, a, err.Error())
	case a.Tag == "" && !isSignatureType(says.ArtifactType) && !isOriginal(says.Descriptor):
	case says.Subject != r.list:
		r.out.warn("%s, listed as a referrer of %s, refers to something else", a.Digest, r.list)
	case isOriginal(says.Descriptor):
		r.out.Unasked.Found = append(r.out.Unasked.Found, referrerName(says.Descriptor))
	case doc.IsList():
		r.out.LeaveOut(r.list, a, "it is a list")
	default:
		r.out.Found = append(r.out.Found, Signing{says, doc})
	}
	return nil
}
