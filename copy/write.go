package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
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
	return w.orElse(ctx, map[digest.Digest]bool{})
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
		return written{}, &Error{"reading manifest", SourceSide, w.plan.Digest.String(), err}
	}
	w.progress.Line("Writing manifest to image destination")
	out, err := w.putTop(ctx, w.plan, doc)
	if endpoint.RefusesPut(err) && names(ctx, w.ends, doc.Digest) {
		return w.leaveTop(ctx, w.plan, doc)
	}
	return out, err
}

// A listPutError says that the destination did not store a list.
type listPutError struct {
	list *ListPlan
	err  error
}

func (e *listPutError) Error() string { return e.err.Error() }

func (e *listPutError) Unwrap() error { return e.err }

// writeLists stores the lists of a plan. A list that is not stored is a *listPutError.
func (w *writer) writeLists(ctx context.Context, p *Plan) (written, error) {
	if err := w.writeNested(ctx, p); err != nil {
		return written{}, err
	}
	out, err := w.putTop(ctx, p, work.DocumentOf(p.List))
	if err != nil {
		return written{}, &listPutError{p.List, err}
	}
	return out, nil
}

// orElse stores the lists of the plan, and does what a refusal calls for. repaired are the lists
// that were stored anew once.
func (w *writer) orElse(ctx context.Context, repaired map[digest.Digest]bool) (written, error) {
	out, err := w.writeLists(ctx, w.plan)
	var put *listPutError
	if errors.As(err, &put) {
		return w.refused(ctx, put, repaired)
	}
	return out, err
}

// writeNested stores what the plan's list needs and execute has not stored: the lists below it by
// their digests, each once, and images that wait for these. Lists that are there are left out; what
// is nested in them may be absent all the same.
func (w *writer) writeNested(ctx context.Context, p *Plan) error {
	lists := map[digest.Digest]*ListPlan{}
	p.List.Walk(func(l *ListPlan) {
		if l != p.List {
			lists[l.Result] = l
		}
	})
	all := p.List.NestedLists()
	for _, d := range p.Wanted() {
		if _, waits := w.late[d]; waits {
			all = append(all, d)
		}
	}
	needs := func(d digest.Digest) []digest.Digest {
		if l := lists[d]; l != nil {
			return l.Needs()
		}
		return []digest.Digest{w.late[d].Subject}
	}
	for _, d := range attach.InOrder(all, needs) {
		var err error
		if l := lists[d]; l == nil {
			err = w.putImage(ctx, w.late[d].Doc)
		} else if !w.there.Present[d] || w.lost[d] {
			err = w.putList(ctx, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putList stores one list by its digest, with its signatures if it is what they sign.
func (w *writer) putList(ctx context.Context, l *ListPlan) error {
	doc := work.DocumentOf(l)
	return w.putSigned(ctx, doc, func() error {
		if err := w.store(ctx, doc); err != nil {
			return &listPutError{l, &Error{writingList, DestinationSide, l.Result.String(), w.typeRefused(doc, err)}}
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
	if w.there.Top == doc.Digest && names(ctx, w.ends, doc.Digest) {
		return w.leaveTop(ctx, p, doc)
	}
	if (len(p.ToAttach()) > 0 || w.original.Lacks(originals.Lacking(p)) || w.keys != nil && w.to == "docker") && access.DigestOf(w.destRef) == "" {
		return written{plan: p, unnamed: &doc}, w.putSigned(ctx, doc, func() error {
			if err := w.put(ctx, doc, func() error { return w.dst.PutManifest(ctx, doc) }); err != nil {
				return &Error{writingList, DestinationSide, doc.Digest.String(), w.typeRefused(doc, err)}
			}
			w.reporter.Update(func(r *Report) { r.ManifestsCopied++ })
			return nil
		})
	}
	sigs, err := w.signing.Of(ctx, doc)
	if err != nil {
		return written{}, signingError(err)
	}
	if p.List != nil {
		w.progress.Line("Storing list signatures")
	} else if sigs != nil {
		w.progress.Line("Storing signatures")
	}
	if err := w.put(ctx, doc, func() error { return w.dst.PutTop(ctx, doc, sigs) }); err != nil {
		return written{}, &Error{"writing", DestinationSide, w.dstName, w.typeRefused(doc, err)}
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

// names reports whether the destination's reference is known to name d now. Only registries are
// asked: elsewhere, what was written becomes visible with the reference.
func names(ctx context.Context, e *ends, d digest.Digest) bool {
	if e.to != "docker" {
		return false
	}
	now, known := e.destinationTop(ctx)
	return known && now == d
}

// nameTop makes the destination's reference name doc, which write has stored by its digest only.
func nameTop(ctx context.Context, e *ends, doc endpoint.Document) error {
	err := inflight.One(ctx, e.budget, func() error { return e.dst.PutTop(ctx, doc, nil) })
	unchanged := endpoint.RefusesPut(err) && names(ctx, e, doc.Digest)
	if err != nil && !unchanged {
		return &Error{"writing", DestinationSide, e.dstName, err}
	}
	e.reporter.Named(doc.Digest, !unchanged)
	return nil
}

// refused finds out why a list was not stored, and does what that calls for: children that were
// lost are pushed again, once; a refusal to make the reference name what it names does not matter;
// under Auto, a list that was refused because it is sparse is stripped. Anything else is an error;
// so is a list that names blobs, with its own words.
func (w *writer) refused(ctx context.Context, put *listPutError, repaired map[digest.Digest]bool) (written, error) {
	var subject *SubjectError
	if errors.As(put.err, &subject) {
		return written{}, put.err // stripping would not help: the subject stays
	}
	kind, lost := sparsesupport.Classify(put.err, work.AsPut(put.list))
	logrus.Debugf("list %s was refused (kind %d): %v", put.list.Result, kind, put.err)
	sparse := len(put.list.Absent) > 0
	unclear := kind == sparsesupport.Unclear
	var unanswered error
	if unclear {
		lost, unanswered = w.lostChildren(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return written{}, cause
		}
	}
	switch {
	case !repaired[put.list.Result] && (len(lost) > 0 || unclear):
		repaired[put.list.Result] = true
		if err := w.sendLostBlobs(ctx, put.list); err != nil {
			return written{}, err
		}
		return w.repair(ctx, lost, repaired)
	case len(lost) > 0:
		return written{}, put.err
	case put.list == w.plan.List && endpoint.RefusesPut(put.err) && names(ctx, w.ends, put.list.Result):
		return w.leaveTop(ctx, w.plan, work.DocumentOf(put.list))
	case work.RefusesBlobs(put.list, kind, put.err):
		return written{}, &Error{writingList, DestinationSide, put.list.Result.String(), work.BlobsRefused(put.list, put.err)}
	case kind == sparsesupport.Otherwise || !sparse:
		return written{}, put.err
	case unanswered != nil:
		return written{}, &SparseRefusedError{List: put.list.Result, Absent: put.list.Absent, Refusal: put.err, Unclear: true, NotStripped: unanswered.Error()}
	}
	return w.strip(ctx, put, kind)
}

// lostChildren returns those of the plan's images and nested lists that the destination does not
// have. What it does not tell about is an error, unless this copy has stored it.
func (w *writer) lostChildren(ctx context.Context) ([]digest.Digest, error) {
	var lost []digest.Digest
	note := func(d digest.Digest, has bool, err error) error {
		switch {
		case err != nil && w.there.Present[d] && !w.lost[d]:
			return fmt.Errorf("whether %s is still there could not be asked: %w", d, err)
		case err == nil && !has:
			lost = append(lost, d)
		}
		return nil
	}
	children := slices.Concat(w.plan.Stored(), w.plan.List.NestedLists())
	err := inflight.Ask(ctx, w.budget, children, w.dst.HasManifest, note)
	slices.Sort(lost)
	return lost, err
}

// repair pushes lost children again and writes the lists once more. Some registries refuse a list
// while they are still storing its children, and take it on a second try.
func (w *writer) repair(ctx context.Context, lost []digest.Digest, repaired map[digest.Digest]bool) (written, error) {
	nested := w.plan.List.NestedLists()
	for _, d := range lost {
		if slices.Contains(nested, d) {
			w.lost[d] = true
			continue
		}
		if err := w.storeAgain(ctx, d); err != nil {
			return written{}, err
		}
	}
	return w.orElse(ctx, repaired)
}

// strip answers the refusal of a sparse list.
func (w *writer) strip(ctx context.Context, put *listPutError, kind sparsesupport.Refusal) (written, error) {
	refused := &SparseRefusedError{List: put.list.Result, Absent: put.list.Absent, Refusal: put.err, Unclear: kind == sparsesupport.Unclear}
	instead := w.plan.IfRefused
	if instead == nil {
		refused.NotStripped = cmp.Or(w.plan.IfRefusedNot, fmt.Sprintf("SparseManifestListAction is %s", w.plan.Asked))
		return written{}, refused
	}
	if refused.Unclear {
		// The answer did not say why. If the stripped list is taken, by digest and with no tag,
		// then it was for the absent children.
		if err := w.probe(ctx, instead); err != nil {
			return written{}, strippedToo(refused, err)
		}
		refused.Unclear = false
	}
	w.reporter.Update(func(r *Report) { r.Refusal = put.err.Error() })
	w.progress.Line("The destination refuses sparse lists: writing the stripped list")
	if err := attachAhead(ctx, w.storer, instead); err != nil {
		return written{}, err
	}
	out, err := w.writeLists(ctx, instead)
	if err != nil {
		return written{}, strippedToo(refused, err)
	}
	return out, nil
}

// strippedToo returns the error of a copy whose sparse list was refused, and whose stripped list
// was not stored either: the registry's two answers, or what else went wrong.
func strippedToo(refused *SparseRefusedError, err error) error {
	var registry *RegistryError
	if errors.As(err, &registry) && registry.Status < 500 {
		refused.StrippedRefusal = err
		return refused
	}
	return fmt.Errorf("writing the stripped list, after a refusal of the sparse one (%w): %w", refused.Refusal, err)
}

// probe stores the lists of a plan by digest only.
func (w *writer) probe(ctx context.Context, p *Plan) error {
	if err := w.writeNested(ctx, p); err != nil {
		return err
	}
	return inflight.One(ctx, w.budget, func() error { return w.dst.PutManifest(ctx, work.DocumentOf(p.List)) })
}
