package copy

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/refusals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// written is what write has done.
type written struct {
	plan *Plan // that the destination has accepted: under Auto, perhaps not the one that was made
	// unnamed is what the destination's reference is to name, if that has been stored by its digest
	// only; nil if not.
	unnamed *endpoint.Document
}

// A writer stores what only makes sense when everything else is there.
type writer struct {
	*storer
	late map[digest.Digest]work.Image // images that are stored with the lists
	lost map[digest.Digest]bool       // nested lists that the destination had, and has lost: they are stored again
}

// write stores nested lists from the leaves up, late images among them, and then what the reference
// names, unless something has to be attached to it first: see putTop.
func write(ctx context.Context, to *storer, late map[digest.Digest]work.Image) (written, error) {
	w := &writer{storer: to, late: late, lost: map[digest.Digest]bool{}}
	if w.intact(ctx) {
		return written{plan: w.plan}, nil
	}
	if w.plan.Image != nil {
		return w.writeImage(ctx)
	}
	w.progress.Line("Writing manifest list to image destination")
	return w.writeOrElse(ctx)
}

// writeOrElse stores the lists of the plan, and does what a refusal calls for.
func (w *writer) writeOrElse(ctx context.Context) (out written, err error) {
	lists := &refusals.Lists{
		Plan: w.plan, Budget: w.budget, Present: w.there.Present, Has: w.dst.HasManifest, Lost: w.lost,
		Write: func(ctx context.Context, p *Plan) (err error) {
			out, err = w.writeLists(ctx, p)
			return err
		},
		Probe: w.probe,
		Names: w.asks().Names,
		Leave: func(ctx context.Context) (err error) {
			out, err = w.leaveTop(ctx, w.plan, work.DocumentOf(w.plan.List))
			return err
		},
		SendBlobs: w.sendLostBlobs, StoreAgain: w.storeAgain,
		Strips: func(ctx context.Context, instead *Plan, refusal error) error {
			w.reporter.Update(func(r *Report) { r.Refusal = refusal.Error() })
			w.progress.Line("The destination refuses sparse lists: writing the stripped list")
			return attachAhead(ctx, w.storer, instead)
		},
		Fail: func(list digest.Digest, err error) error {
			return failure.New(writingList, DestinationSide, list.String(), err)
		},
	}
	err = lists.Store(ctx)
	return out, err
}

// intact reports whether a copy that looked at every blob has found that nothing is lacking at the
// destination: what settled says of one that did not look. The report says so, too.
func (w *writer) intact(ctx context.Context) bool {
	if !w.there.Asked || !w.o.CheckBlobs {
		return false
	}
	copied := 0
	w.reporter.Update(func(r *Report) {
		r.Checked = CheckedBlobs
		copied = r.BlobsCopied
	})
	lacks := func(d digest.Digest) bool { return !w.there.Stored[d] && d != w.there.Top }
	if len(w.plan.Transforms()) > 0 || w.there.Top != w.plan.Digest || copied > 0 || slices.ContainsFunc(slices.Concat(w.plan.Copies, w.plan.Lists()), lacks) {
		return false
	}
	lacking, err := w.signing.Lacking(ctx, slices.Concat(w.plan.Stored(), w.plan.Lists()))
	if err != nil || len(lacking) > 0 {
		return false
	}
	w.reporter.SetComplete()
	w.reporter.Update(func(r *Report) { r.DestinationDigest = w.plan.Digest })
	return true
}

// writeImage makes the destination's reference name a single image.
func (w *writer) writeImage(ctx context.Context) (written, error) {
	doc, err := w.manifest(ctx, w.plan.Digest) // not held if the destination has it, and lacks its signatures
	if err != nil {
		return written{}, failure.New("reading manifest", SourceSide, w.plan.Digest.String(), err)
	}
	w.progress.Line("Writing manifest to image destination")
	out, err := w.putTop(ctx, w.plan, doc)
	if endpoint.RefusesPut(err) && w.asks().Names(ctx, doc.Digest) {
		return w.leaveTop(ctx, w.plan, doc)
	}
	return out, err
}

// writeLists stores the lists of a plan. A list that is not stored is a *refusals.PutError.
func (w *writer) writeLists(ctx context.Context, p *Plan) (written, error) {
	if err := w.writeNested(ctx, p); err != nil {
		return written{}, err
	}
	out, err := w.putTop(ctx, p, work.DocumentOf(p.List))
	if err != nil {
		return written{}, &refusals.PutError{List: p.List, Err: err}
	}
	return out, nil
}

// writeNested stores what the plan's list needs and execute has not stored: the lists below it by
// their digests, each once, and images that wait for these. Lists that are there are left out; what
// is nested in them may be absent all the same.
func (w *writer) writeNested(ctx context.Context, p *Plan) error {
	return work.Nested(p, w.late, func(image work.Image) error { return w.putImage(ctx, image.Doc) }, func(l *ListPlan) error {
		if w.there.Present[l.Result] && !w.lost[l.Result] {
			return nil
		}
		return w.putList(ctx, l)
	})
}

// putList stores one list by its digest, with its signatures if it is what they sign.
func (w *writer) putList(ctx context.Context, l *ListPlan) error {
	doc := work.DocumentOf(l)
	return w.putSigned(ctx, doc, func() error {
		if err := w.store(ctx, doc); err != nil {
			return &refusals.PutError{List: l, Err: failure.New(writingList, DestinationSide, l.Result.String(), refusals.OfType(err, doc, w.plan, w.source))}
		}
		w.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
		return nil
	})
}

// putTop makes the destination's reference name doc, which plan has for it. Signatures are stored
// by digest, so those of a list that has changed stay behind.
//
// If something is still to be attached, or a registry gets new signatures, doc is only stored by
// its digest, with its signatures: what is attached comes next, and nameTop after it. So nobody
// sees an image without what belongs to it, and nothing is attached to a list that the destination
// refuses, which is not signed either.
//
// A reference that named doc when the copy began, and still does, is not written.
func (w *writer) putTop(ctx context.Context, p *Plan, doc endpoint.Document) (written, error) {
	if w.there.Top == doc.Digest && w.asks().Names(ctx, doc.Digest) {
		return w.leaveTop(ctx, p, doc)
	}
	attaches := len(p.ToAttach()) > 0 || w.original.Lacks(originals.Lacking(p)) || w.kept != nil && originals.Wanted(p)
	if (attaches || w.keys != nil && w.to == "docker") && access.DigestOf(w.destRef) == "" {
		return written{plan: p, unnamed: &doc}, w.putSigned(ctx, doc, func() error {
			if err := w.put(ctx, doc, func() error { return w.dst.PutManifest(ctx, doc) }); err != nil {
				return failure.New(writingList, DestinationSide, doc.Digest.String(), refusals.OfType(err, doc, w.plan, w.source))
			}
			w.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
			return nil
		})
	}
	sigs, err := w.signing.Of(ctx, doc)
	if err != nil {
		return written{}, failure.Signing(err)
	}
	if p.List != nil {
		w.progress.Line("Storing list signatures")
	} else if sigs != nil {
		w.progress.Line("Storing signatures")
	}
	if err := w.put(ctx, doc, func() error { return w.dst.PutTop(ctx, doc, sigs) }); err != nil {
		return written{}, failure.New("writing", DestinationSide, w.dstName, refusals.OfType(err, doc, w.plan, w.source))
	}
	w.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
	w.reporter.Signed(w.signing.Count(doc.Digest, sigs))
	w.reporter.Named(doc.Digest, true)
	return written{plan: p}, nil
}

// leaveTop is putTop for a reference that names doc already. Registries refuse to write a tag that
// is immutable, also where nothing would change, and distribution refuses a list of which it has
// lost a child, also one that this copy does not want.
func (w *writer) leaveTop(ctx context.Context, p *Plan, doc endpoint.Document) (written, error) {
	if err := w.putSignatures(ctx, doc); err != nil {
		return written{}, err
	}
	w.reporter.Named(doc.Digest, false)
	return written{plan: p}, nil
}

// nameTop makes the destination's reference name doc, which write has stored by its digest only.
func nameTop(ctx context.Context, e *ends, doc endpoint.Document) error {
	err := inflight.One(ctx, e.budget, func() error { return e.dst.PutTop(ctx, doc, nil) })
	unchanged := endpoint.RefusesPut(err) && e.asks().Names(ctx, doc.Digest)
	if err != nil && !unchanged {
		return failure.New("writing", DestinationSide, e.dstName, err)
	}
	e.reporter.Named(doc.Digest, !unchanged)
	return nil
}

// probe stores the lists of a plan by digest only.
func (w *writer) probe(ctx context.Context, p *Plan) error {
	if err := w.writeNested(ctx, p); err != nil {
		return err
	}
	return inflight.One(ctx, w.budget, func() error { return w.dst.PutManifest(ctx, work.DocumentOf(p.List)) })
}
