package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// intact says whether a copy that looked at every blob has found that nothing is lacking at the destination.
func (j *job) intact(ctx context.Context) bool {
	if !j.compare || !j.o.CheckBlobs {
		return false
	}
	copied := 0
	j.reporter.update(func(r *Report) {
		r.Checked = CheckedBlobs
		copied = r.BlobsCopied
	})
	lacks := func(d digest.Digest) bool { return !j.there.stored[d] && d != j.there.top }
	if j.there.top != j.plan.Digest || copied > 0 || slices.ContainsFunc(slices.Concat(j.plan.Copies, j.plan.Lists()), lacks) {
		return false
	}
	lacking, err := unsigned(ctx, j.ends, j.source, slices.Concat(j.plan.Wanted(), j.plan.Lists()))
	if err != nil || len(lacking) > 0 {
		return false
	}
	j.reporter.setComplete()
	j.reporter.update(func(r *Report) { r.DestinationDigest = j.plan.Digest })
	return true
}

// write stores what only makes sense when everything else is there: nested lists from the leaves up, then what the reference names,
// unless something has to be attached to it first: see putTop.
func (j *job) write(ctx context.Context) error {
	if j.plan.Image != nil {
		doc, err := j.manifest(ctx, j.plan.Digest) // not held if the destination has it, and lacks its signatures
		if err != nil {
			return &Error{"reading manifest", SourceSide, j.plan.Digest.String(), err}
		}
		j.progress.Line("Writing manifest to image destination")
		err = j.putTop(ctx, j.plan, doc)
		if isRefusal(err) && j.names(ctx, doc.Digest) {
			return j.leaveTop(ctx, doc)
		}
		return err
	}
	j.progress.Line("Writing manifest list to image destination")
	err := j.writeLists(ctx, j.plan)
	var put *listPutError
	if !errors.As(err, &put) {
		return err
	}
	return j.refused(ctx, put, map[digest.Digest]bool{})
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
	if err := j.writeNested(ctx, plan); err != nil {
		return err
	}
	if err := j.putTop(ctx, plan, listDocument(plan.List)); err != nil {
		return &listPutError{plan.List, err}
	}
	return nil
}

// listDocument returns the list that is written.
func listDocument(l *ListPlan) endpoint.Document {
	return endpoint.Document{Digest: l.Result, MediaType: l.MediaType, Bytes: l.Written()}
}

// writeNested stores what the plan's list needs and copyImages has not stored: the lists below it by their digests, each once, and images
// that wait for these. Lists that are there are left out; what is nested in them may be absent all the same.
func (j *job) writeNested(ctx context.Context, plan *Plan) error {
	lists := map[digest.Digest]*ListPlan{}
	plan.List.Walk(func(l *ListPlan) {
		if l != plan.List {
			lists[l.Result] = l
		}
	})
	all := plan.List.NestedLists()
	for _, d := range plan.Wanted() {
		if _, waits := j.late[d]; waits {
			all = append(all, d)
		}
	}
	needs := func(d digest.Digest) []digest.Digest {
		if l := lists[d]; l != nil {
			return l.Needs()
		}
		return []digest.Digest{j.late[d].subject}
	}
	for _, d := range inOrder(all, needs) {
		var err error
		if l := lists[d]; l == nil {
			err = j.putImage(ctx, j.late[d].doc)
		} else if !j.in.Present[d] {
			err = j.putList(ctx, l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// store stores a manifest or list by its digest; one that is added to a list which is there by the tag that keeps it, so that it is never without.
func (j *job) store(ctx context.Context, doc endpoint.Document) error {
	return j.put(ctx, doc, func() error {
		if dst, ok := j.dst.(endpoint.ReferrerDestination); ok && slices.Contains(j.plan.Widened, doc.Digest) {
			return dst.UpdateTag(ctx, plan.ChildTag(doc.Digest), func(endpoint.Document) (endpoint.Document, error) { return doc, nil })
		}
		return j.dst.PutManifest(ctx, doc)
	})
}

// putList stores one list by its digest, with its signatures if it is what they sign.
func (j *job) putList(ctx context.Context, l *ListPlan) error {
	if err := j.store(ctx, listDocument(l)); err != nil {
		return &listPutError{l, &Error{writingList, DestinationSide, l.Result.String(), err}}
	}
	j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
	return j.putSignatures(ctx, l.Result)
}

// writingList is the Op of an *Error about a list.
const writingList = "writing list"

// putTop makes the destination's reference name doc, which plan has for it. Signatures are stored by digest, so those of a list that has
// changed stay behind.
//
// If the plan attaches anything, doc is only stored by its digest, with its signatures: what is attached comes next, and nameTop after it.
// So nobody sees an image without what belongs to it, and nothing is attached to a list that the destination refuses.
//
// A reference that named doc when the copy began, and still does, is not written.
func (j *job) putTop(ctx context.Context, plan *Plan, doc endpoint.Document) error {
	if j.there.top == doc.Digest && j.names(ctx, doc.Digest) {
		return j.leaveTop(ctx, doc)
	}
	sigs := j.signaturesOf(doc.Digest)
	if plan.List != nil {
		j.progress.Line("Storing list signatures")
	} else if sigs != nil {
		j.progress.Line("Storing signatures")
	}
	if len(plan.ToAttach()) > 0 && digestOf(j.destRef) == "" {
		if err := j.put(ctx, doc, func() error { return j.dst.PutManifest(ctx, doc) }); err != nil {
			return &Error{writingList, DestinationSide, doc.Digest.String(), err}
		}
		j.reporter.update(func(r *Report) { r.ManifestsCopied++ })
		j.unnamed = &doc
		return j.putSignatures(ctx, doc.Digest)
	}
	if err := j.put(ctx, doc, func() error { return j.dst.PutTop(ctx, doc, sigs) }); err != nil {
		return &Error{"writing", DestinationSide, j.dstName, err}
	}
	j.reporter.update(func(r *Report) {
		r.ManifestsCopied++
		if sigs != nil {
			r.SignaturesCopied += sigs.Len()
		}
	})
	j.named(doc.Digest, true)
	return nil
}

// names says whether the destination's reference is known to name d now. Only registries are asked: elsewhere, what was written becomes visible
// with the reference.
func (j *job) names(ctx context.Context, d digest.Digest) bool {
	if j.to != "docker" {
		return false
	}
	now, known := j.destinationTop(ctx)
	return known && now == d
}

// leaveTop is putTop for a reference that names doc already. Registries refuse to write a tag that is immutable, also where nothing would
// change, and distribution refuses a list of which it has lost a child, also one that this copy does not want.
func (j *job) leaveTop(ctx context.Context, doc endpoint.Document) error {
	if err := j.putSignatures(ctx, doc.Digest); err != nil {
		return err
	}
	j.named(doc.Digest, false)
	return nil
}

// nameTop makes the destination's reference name what putTop has stored by its digest only, if it has.
func (j *job) nameTop(ctx context.Context) error {
	if j.unnamed == nil {
		return nil
	}
	err := one(ctx, j.budget, func() error { return j.dst.PutTop(ctx, *j.unnamed, nil) })
	unchanged := isRefusal(err) && j.names(ctx, j.unnamed.Digest)
	if err != nil && !unchanged {
		return &Error{"writing", DestinationSide, j.dstName, err}
	}
	j.named(j.unnamed.Digest, !unchanged)
	return nil
}

// named notes that the destination's reference names d, and whether it had to be written.
func (j *job) named(d digest.Digest, written bool) {
	j.reporter.update(func(r *Report) {
		r.Written = written
		r.DestinationDigest = d
	})
	j.reporter.setComplete()
}

// refused finds out why a list was not stored, and does what that calls for: children that were lost are pushed again, once; a refusal to make
// the reference name what it names does not matter; under Auto, a list that was refused because it is sparse is stripped. Anything else is an
// error.
func (j *job) refused(ctx context.Context, put *listPutError, repaired map[digest.Digest]bool) error {
	var subject *SubjectError
	if errors.As(put.err, &subject) {
		return put.err // stripping would not help: the subject stays
	}
	kind, lost := sparsesupport.Classify(put.err, asPut(put.list))
	logrus.Debugf("list %s was refused (kind %d): %v", put.list.Result, kind, put.err)
	sparse := len(put.list.Absent) > 0
	unclear := kind == sparsesupport.Unclear
	var unanswered error
	if unclear {
		lost, unanswered = j.lostChildren(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
	}
	switch {
	case !repaired[put.list.Result] && (len(lost) > 0 || unclear):
		repaired[put.list.Result] = true
		return j.repair(ctx, lost, repaired)
	case len(lost) > 0:
		return put.err
	case put.list == j.plan.List && isRefusal(put.err) && j.names(ctx, put.list.Result):
		return j.leaveTop(ctx, listDocument(put.list))
	case kind == sparsesupport.Otherwise || !sparse:
		return put.err
	case unanswered != nil:
		return &SparseRefusedError{List: put.list.Result, Absent: put.list.Absent, Refusal: put.err, Unclear: true, NotStripped: unanswered.Error()}
	}
	return j.strip(ctx, put, kind)
}

// isRefusal says whether err is a registry's refusal to store something, and no failure of its own.
func isRefusal(err error) bool {
	var registry *RegistryError
	return errors.As(err, &registry) && registry.Method == http.MethodPut && registry.Status >= 400 && registry.Status < 500
}

// lostChildren returns those of the plan's images and nested lists that the destination does not have. What it does not tell about is an
// error, unless this copy has stored it.
func (j *job) lostChildren(ctx context.Context) ([]digest.Digest, error) {
	var lost []digest.Digest
	err := concurrently(ctx, j.budget, slices.Concat(j.plan.Wanted(), j.plan.List.NestedLists()), func(ctx context.Context, d digest.Digest) error {
		there, err := j.dst.HasManifest(ctx, d)
		switch {
		case err != nil && j.in.Present[d]:
			return fmt.Errorf("whether %s is still there could not be asked: %w", d, err)
		case err == nil && !there:
			j.mu.Lock()
			defer j.mu.Unlock()
			lost = append(lost, d)
		}
		return nil
	})
	slices.Sort(lost)
	return lost, err
}

// repair pushes lost children again and writes the lists once more. Some registries refuse a list while they are still storing
// its children, and take it on a second try.
func (j *job) repair(ctx context.Context, lost []digest.Digest, repaired map[digest.Digest]bool) error {
	nested := j.plan.List.NestedLists()
	for _, d := range lost {
		if slices.Contains(nested, d) {
			delete(j.in.Present, d) // so that writeLists stores it
			continue
		}
		if err := j.storeAgain(ctx, d); err != nil {
			return err
		}
	}
	err := j.writeLists(ctx, j.plan)
	var put *listPutError
	if !errors.As(err, &put) {
		return err
	}
	return j.refused(ctx, put, repaired)
}

// storeAgain stores a manifest that the destination says it does not have, if it can still be read: else the list will be refused again.
func (j *job) storeAgain(ctx context.Context, d digest.Digest) error {
	again, err := j.manifest(ctx, d)
	if err != nil {
		logrus.Debugf("what the destination has lost cannot be read again: %v", err)
		return nil
	}
	if err := j.store(ctx, again); err != nil {
		return &Error{"writing manifest again", DestinationSide, d.String(), err}
	}
	return nil
}

// strip answers the refusal of a sparse list.
func (j *job) strip(ctx context.Context, put *listPutError, kind sparsesupport.Refusal) error {
	refused := &SparseRefusedError{List: put.list.Result, Absent: put.list.Absent, Refusal: put.err, Unclear: kind == sparsesupport.Unclear}
	instead := j.plan.IfRefused
	if instead == nil {
		refused.NotStripped = cmp.Or(j.plan.IfRefusedNot, fmt.Sprintf("SparseManifestListAction is %s", j.plan.Asked))
		return refused
	}
	if refused.Unclear {
		// The answer did not say why. If the stripped list is taken, by digest and with no tag, then it was for the absent children.
		if err := j.probe(ctx, instead); err != nil {
			return strippedToo(refused, err)
		}
		refused.Unclear = false
	}
	j.reporter.update(func(r *Report) { r.Refusal = put.err.Error() })
	j.progress.Line("The destination refuses sparse lists: writing the stripped list")
	if err := j.writeLists(ctx, instead); err != nil {
		return strippedToo(refused, err)
	}
	j.setPlan(instead)
	return nil
}

// strippedToo returns the error of a copy whose sparse list was refused, and whose stripped list was not stored either: the registry's
// two answers, or what else went wrong.
func strippedToo(refused *SparseRefusedError, err error) error {
	var registry *RegistryError
	if errors.As(err, &registry) && registry.Status < 500 {
		refused.StrippedRefusal = err
		return refused
	}
	return fmt.Errorf("writing the stripped list, after a refusal of the sparse one (%w): %w", refused.Refusal, err)
}

// probe stores the lists of a plan by digest only.
func (j *job) probe(ctx context.Context, plan *Plan) error {
	if err := j.writeNested(ctx, plan); err != nil {
		return err
	}
	return one(ctx, j.budget, func() error { return j.dst.PutManifest(ctx, listDocument(plan.List)) })
}
