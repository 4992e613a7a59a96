package copy

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// This file has what the steps do for Options.AttachOriginal.

// findOriginal reads the signatures of a list whose original is to be attached; nil if there is
// nothing to read, or it was read before.
func findOriginal(ctx context.Context, e *ends, s survey) (*originals.Found, error) {
	if e.o.RemoveSignatures || e.o.RemoveListSignatures || s.source.OriginalAsked || !originals.Wanted(s.plan) {
		return nil, nil
	}
	at := originals.Origin{Stored: s.source.Signatures[s.source.Top.Digest], Budget: e.budget}
	at.Open = func(of attach.Attachment, b endpoint.Blob) endpoint.Opener {
		l := s.source
		l.Referrers = map[digest.Digest]bool{of.Digest: of.Elsewhere}
		return e.held(l, of.Digest, b)
	}
	if access.Transports[e.from].Referrers {
		src, err := e.reader().Attached(s.source)
		if at.Untold = err; err == nil {
			at.Attached = &src
		}
	}
	found, err := originals.Find(ctx, at, s.source.Top.Digest)
	return &found, failure.Attaching(SourceSide, e.srcName, err)
}

// withOriginal returns l with the signatures that findOriginal has found.
func withOriginal(e *ends, l known.Source, found *originals.Found) known.Source {
	if found == nil {
		return l
	}
	for _, text := range found.Warnings {
		e.reporter.Warn(text)
	}
	return l.WithOriginalSignatures(found.Signatures, ListSignatures(found.Unasked))
}

// lateOriginal reads the signatures of a list whose original is to be attached, as only became
// known when its images were read, and asks the destination what it has of that.
func lateOriginal(ctx context.Context, e *ends, s survey) (survey, error) {
	found, err := findOriginal(ctx, e, s)
	if err == nil && found != nil {
		s.source = withOriginal(e, s.source, found)
		s, err = e.replanned(s)
	}
	if err != nil {
		return s, err
	}
	return askOriginal(ctx, e, s)
}

// askOriginal asks the destination which artifacts of the plan it has, in whatever form, if it may
// have them: it has the list that they belong to.
func askOriginal(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked || s.there.Top == "" || s.there.Top != s.plan.Digest {
		return s, nil
	}
	for _, as := range originals.Forms(e.dst) {
		unasked := originals.Unasked(s.plan, as, s.there)
		if len(unasked) == 0 {
			continue
		}
		there, err := e.asks().Present(ctx, unasked)
		if err != nil {
			return s, err
		}
		s.there = s.there.WithPresent(there)
		if s, err = e.replanned(s); err != nil {
			return s, err
		}
	}
	return s, nil
}

// newOriginalStore returns what stores artifacts with s, those that the plan does not know to be
// there.
func newOriginalStore(s *storer) (*originals.Store, error) {
	place := originals.Place{Destination: s.dst, Budget: s.budget, Send: s.sends().Held}
	if originals.Wanted(s.plan) || len(s.plan.ToAttach()) > 0 {
		dst, err := attachedTo(s.ends)
		if err != nil {
			return nil, err
		}
		place.Referrers = dst.Referrers
	}
	return originals.NewStore(place, originals.Present(s.plan)), nil
}

// attachAhead attaches what p has of an original before the list is stored that it belongs to. What
// the destination refuses until it has that is left to attachOriginal.
func attachAhead(ctx context.Context, to *storer, p *Plan) error {
	if to.o.CheckBlobs {
		if err := to.original.Check(ctx); err != nil {
			return failure.Attaching(DestinationSide, to.dstName, err)
		}
	}
	lacking := originals.Lacking(p)
	if len(lacking) == 0 {
		return nil
	}
	to.progress.Line("Attaching the original list %s, and its signatures (%d)", p.Original.List, len(p.Original.Signatures))
	if err := to.original.Ahead(ctx, lacking); err != nil {
		return failure.Attaching(DestinationSide, to.dstName, err)
	}
	if to.original.Lacks(lacking) {
		return nil
	}
	return keepSignatures(ctx, to, p)
}

// attachOriginal attaches what p has of an original to the list, which is there by its digest, but
// for what attachAhead has attached.
func attachOriginal(ctx context.Context, to *storer, p *Plan) error {
	lacking := originals.Lacking(p)
	if !to.original.Lacks(lacking) {
		return nil
	}
	if err := to.original.Finish(ctx, lacking); err != nil {
		return failure.Attaching(DestinationSide, to.dstName, err)
	}
	return keepSignatures(ctx, to, p)
}

// keepSignatures stores signatures of an original that has been attached as they were, too.
func keepSignatures(ctx context.Context, to *storer, p *Plan) error {
	kept, warnings, err := to.original.AsTheyWere(ctx, originals.LackingSignatures(p, to.source.OriginalSignatures))
	for _, text := range warnings {
		to.reporter.WarnOnce(text)
	}
	to.reporter.Original(to.original.Forms(), kept)
	return err
}
