package copy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// write stores what only makes sense when everything else is there: nested lists from the leaves up, then what the reference names.
func (j *job) write(ctx context.Context) error {
	if j.plan.Image != nil {
		doc, err := j.document(j.plan.Digest)
		if err != nil {
			return err
		}
		j.progress.line("Writing manifest to image destination")
		return j.putTop(ctx, endpoint.Document{Digest: j.plan.Digest, MediaType: doc.MediaType, Bytes: doc.Bytes})
	}
	j.progress.line("Writing manifest list to image destination")
	err := j.writeLists(ctx, j.plan)
	var put *listPutError
	if !errors.As(err, &put) {
		return err
	}
	return j.refused(ctx, put, true)
}

// A listPutError says that the destination did not store a list.
type listPutError struct {
	list *ListPlan
	err  error
}

func (e *listPutError) Error() string { return e.err.Error() }
func (e *listPutError) Unwrap() error { return e.err }

// writeLists stores the lists of a plan. A list that is not stored is a *listPutError.
func (j *job) writeLists(ctx context.Context, plan *Plan) error {
	if err := j.writeNested(ctx, plan.List); err != nil {
		return err
	}
	if err := j.putTop(ctx, plan.List.document()); err != nil {
		return &listPutError{plan.List, err}
	}
	return nil
}

func (l *ListPlan) document() endpoint.Document {
	return endpoint.Document{Digest: l.Result, MediaType: l.MediaType, Bytes: l.result}
}

// writeNested stores the lists below l by their digests, but for those that are there.
func (j *job) writeNested(ctx context.Context, l *ListPlan) error {
	for _, ip := range l.Instances {
		if ip.Nested == nil || ip.Decision != Copy || j.in.Present[ip.Nested.Result] {
			continue
		}
		if err := j.writeNested(ctx, ip.Nested); err != nil {
			return err
		}
		if err := j.putList(ctx, ip.Nested); err != nil {
			return err
		}
	}
	return nil
}

// putList stores one list by its digest, with its signatures if it is what they sign.
func (j *job) putList(ctx context.Context, l *ListPlan) error {
	if err := one(ctx, j.budget, func() error { return j.dst.PutManifest(ctx, l.document()) }); err != nil {
		return &listPutError{l, &Error{"writing list", DestinationSide, l.Result.String(), err}}
	}
	j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
	return j.putSignatures(ctx, l.Result)
}

// putTop makes the destination's reference name doc. Signatures are stored by digest, so those of a list that has changed stay behind.
func (j *job) putTop(ctx context.Context, doc endpoint.Document) error {
	sigs := j.signaturesOf(doc.Digest)
	if j.plan.List != nil {
		j.progress.line("Storing list signatures")
	} else if sigs != nil {
		j.progress.line("Storing signatures")
	}
	if err := one(ctx, j.budget, func() error { return j.dst.PutTop(ctx, doc, sigs) }); err != nil {
		return &Error{"writing", DestinationSide, j.in.Destination, err}
	}
	j.reporter.update(func(r *Report) {
		r.ManifestsCopied++
		r.Written = true
		r.DestinationDigest = doc.Digest
	})
	j.reporter.complete = true
	return nil
}

// refused finds out why a list was not stored, and does what that calls for: children that were lost are pushed again, once; under Auto,
// a list that was refused because it is sparse is stripped. Anything else is an error.
func (j *job) refused(ctx context.Context, put *listPutError, mayRepair bool) error {
	kind, lost := classifyRefusal(put.err, put.list.Absent)
	logrus.Debugf("list %s was refused (kind %d): %v", put.list.Result, kind, put.err)
	if kind == refusedOtherwise {
		return put.err
	}
	if kind == refusedUnclear {
		lost = j.lostChildren(ctx)
	}
	if mayRepair && (len(lost) > 0 || kind == refusedUnclear) {
		return j.repair(ctx, lost)
	}
	if len(lost) > 0 {
		return put.err
	}
	return j.strip(ctx, put, kind)
}

// lostChildren returns those of the plan's images that the destination does not have.
func (j *job) lostChildren(ctx context.Context) []digest.Digest {
	var lost []digest.Digest
	err := concurrently(ctx, j.budget, j.plan.wantedImages(), func(ctx context.Context, d digest.Digest) error {
		there, err := j.dst.HasManifest(ctx, d)
		if err == nil && !there {
			j.mu.Lock()
			defer j.mu.Unlock()
			lost = append(lost, d)
		}
		return nil
	})
	if err != nil {
		return nil // the context has ended: whatever comes next will say so
	}
	slices.Sort(lost)
	return lost
}

// repair pushes lost children again and writes the lists once more. Some registries refuse a list while they are still storing
// its children, and take it on a second try.
func (j *job) repair(ctx context.Context, lost []digest.Digest) error {
	for _, d := range lost {
		doc, err := j.document(d)
		if err != nil {
			continue // it was there when the copy began, and was not read
		}
		again := endpoint.Document{Digest: d, MediaType: doc.MediaType, Bytes: doc.Bytes}
		if err := one(ctx, j.budget, func() error { return j.dst.PutManifest(ctx, again) }); err != nil {
			return &Error{"writing manifest again", DestinationSide, d.String(), err}
		}
	}
	err := j.writeLists(ctx, j.plan)
	var put *listPutError
	if !errors.As(err, &put) {
		return err
	}
	return j.refused(ctx, put, false)
}

// strip answers the refusal of a sparse list.
func (j *job) strip(ctx context.Context, put *listPutError, kind refusal) error {
	refusedError := &SparseRefusedError{List: put.list.Result, Absent: put.list.Absent, Refusal: put.err}
	instead := j.plan.IfRefused
	switch {
	case instead == nil && kind == refusedUnclear:
		return fmt.Errorf("%w; the list is sparse (%d children are absent), which may be why", put.err, len(put.list.Absent))
	case instead == nil:
		refusedError.NotStripped = j.plan.IfRefusedNot
		if refusedError.NotStripped == "" {
			refusedError.NotStripped = fmt.Sprintf("SparseManifestListAction is %s", j.plan.Asked)
		}
		return refusedError
	}
	if kind == refusedUnclear {
		// The answer did not say why. If the stripped list is taken, by digest and with no tag, then it was for the absent children.
		if err := j.probe(ctx, instead); err != nil {
			refusedError.StrippedRefusal = err
			return refusedError
		}
	}
	j.reporter.update(func(r *Report) { r.Refusal = put.err.Error() })
	j.progress.line("The destination refuses sparse lists: writing the stripped list")
	instead.Asked = j.plan.Asked
	j.plan = instead
	if err := j.writeLists(ctx, instead); err != nil {
		refusedError.StrippedRefusal = err
		return refusedError
	}
	rememberRefusal(j.destRef, put.err)
	return nil
}

// probe stores the lists of a plan by digest only.
func (j *job) probe(ctx context.Context, plan *Plan) error {
	if err := j.writeNested(ctx, plan.List); err != nil {
		return err
	}
	return one(ctx, j.budget, func() error { return j.dst.PutManifest(ctx, plan.List.document()) })
}
