// Package refusals has what it calls for that a destination refuses a list: children that it has
// lost are stored again, and a sparse list is stripped, if that may be. It also tells refusals that
// may be about a media type (types.go): another one might do.
package refusals

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/sparsesupport"
)

// A PutError says that the destination did not store a list.
type PutError struct {
	List *plan.ListPlan
	Err  error
}

func (e *PutError) Error() string { return e.Err.Error() }

func (e *PutError) Unwrap() error { return e.Err }

// Lists are the lists of a plan, and how they are stored.
type Lists struct {
	Plan   *plan.Plan
	Budget *semaphore.Weighted // counts everything in flight

	// Write stores the lists of a plan, and makes the destination's reference name the top-level
	// one. One that is not stored is a *PutError. Probe stores them by their digests only.
	Write, Probe func(context.Context, *plan.Plan) error
	// Names reports whether the destination's reference names a digest now. Leave is Write for a
	// reference that names the top-level list of Plan already.
	Names func(context.Context, digest.Digest) bool
	Leave func(context.Context) error

	// Present is what the destination has said to have before the copy, and Has asks it once more.
	Present map[digest.Digest]bool
	Has     func(context.Context, digest.Digest) (bool, error)
	// Lost gets the nested lists that the destination had, and has lost: Write stores them again.
	Lost map[digest.Digest]bool
	// StoreAgain stores a manifest that is lost, and SendBlobs the blobs that a list names and that
	// are.
	StoreAgain func(context.Context, digest.Digest) error
	SendBlobs  func(context.Context, *plan.ListPlan) error

	// Strips is called before the stripped lists of a plan are written in the place of those that
	// were refused with an error.
	Strips func(context.Context, *plan.Plan, error) error
	// Fail makes the error of a list that was not stored because of err.
	Fail func(list digest.Digest, err error) error
}

// Store stores the lists of the plan, and does what a refusal calls for.
func (l *Lists) Store(ctx context.Context) error { return l.orElse(ctx, map[digest.Digest]bool{}) }

// orElse is Store. repaired are the lists that were stored anew once.
func (l *Lists) orElse(ctx context.Context, repaired map[digest.Digest]bool) error {
	err := l.Write(ctx, l.Plan)
	var put *PutError
	if errors.As(err, &put) {
		return l.refused(ctx, put, repaired)
	}
	return err
}

// refused finds out why a list was not stored, and does what that calls for: children that were
// lost are pushed again, once; a refusal to make the reference name what it names does not matter;
// under Auto, a list that was refused because it is sparse is stripped. Anything else is an error;
// so is a list that names blobs, with its own words.
func (l *Lists) refused(ctx context.Context, put *PutError, repaired map[digest.Digest]bool) error {
	var subject *attach.SubjectError
	if errors.As(put.Err, &subject) {
		return put.Err // stripping would not help: the subject stays
	}
	kind, lost := sparsesupport.Classify(put.Err, work.AsPut(put.List))
	logrus.Debugf("list %s was refused (kind %d): %v", put.List.Result, kind, put.Err)
	sparse := len(put.List.Absent) > 0
	unclear := kind == sparsesupport.Unclear
	var unanswered error
	if unclear {
		lost, unanswered = l.lostChildren(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
	}
	switch {
	case !repaired[put.List.Result] && (len(lost) > 0 || unclear):
		repaired[put.List.Result] = true
		if err := l.SendBlobs(ctx, put.List); err != nil {
			return err
		}
		return l.repair(ctx, lost, repaired)
	case len(lost) > 0:
		return put.Err
	case put.List == l.Plan.List && endpoint.RefusesPut(put.Err) && l.Names(ctx, put.List.Result):
		return l.Leave(ctx)
	case work.RefusesBlobs(put.List, kind, put.Err):
		return l.Fail(put.List.Result, work.BlobsRefused(put.List, put.Err))
	case kind == sparsesupport.Otherwise || !sparse:
		return put.Err
	case unanswered != nil:
		return &plan.SparseRefusedError{List: put.List.Result, Absent: put.List.Absent, Refusal: put.Err, Unclear: true, NotStripped: unanswered.Error()}
	}
	return l.strip(ctx, put, kind)
}

// lostChildren returns those of the plan's images and nested lists that the destination does not
// have. What it does not tell about is an error, unless this copy has stored it.
func (l *Lists) lostChildren(ctx context.Context) ([]digest.Digest, error) {
	var lost []digest.Digest
	note := func(d digest.Digest, has bool, err error) error {
		switch {
		case err != nil && l.Present[d] && !l.Lost[d]:
			return fmt.Errorf("whether %s is still there could not be asked: %w", d, err)
		case err == nil && !has:
			lost = append(lost, d)
		}
		return nil
	}
	children := slices.Concat(l.Plan.Stored(), l.Plan.List.NestedLists())
	err := inflight.Ask(ctx, l.Budget, children, l.Has, note)
	slices.Sort(lost)
	return lost, err
}

// repair pushes lost children again and writes the lists once more. Some registries refuse a list
// while they are still storing its children, and take it on a second try.
func (l *Lists) repair(ctx context.Context, lost []digest.Digest, repaired map[digest.Digest]bool) error {
	nested := l.Plan.List.NestedLists()
	for _, d := range lost {
		if slices.Contains(nested, d) {
			l.Lost[d] = true
			continue
		}
		if err := l.StoreAgain(ctx, d); err != nil {
			return err
		}
	}
	return l.orElse(ctx, repaired)
}

// strip answers the refusal of a sparse list.
func (l *Lists) strip(ctx context.Context, put *PutError, kind sparsesupport.Refusal) error {
	refused := &plan.SparseRefusedError{List: put.List.Result, Absent: put.List.Absent, Refusal: put.Err, Unclear: kind == sparsesupport.Unclear}
	instead := l.Plan.IfRefused
	if instead == nil {
		refused.NotStripped = cmp.Or(l.Plan.IfRefusedNot, fmt.Sprintf("SparseManifestListAction is %s", l.Plan.Asked))
		return refused
	}
	if refused.Unclear {
		// The answer did not say why. If the stripped list is taken, by digest and with no tag,
		// then it was for the absent children.
		if err := l.Probe(ctx, instead); err != nil {
			return strippedToo(refused, err)
		}
		refused.Unclear = false
	}
	if err := l.Strips(ctx, instead, put.Err); err != nil {
		return err
	}
	if err := l.Write(ctx, instead); err != nil {
		return strippedToo(refused, err)
	}
	return nil
}

// strippedToo returns the error of a copy whose sparse list was refused, and whose stripped list
// was not stored either: the registry's two answers, or what else went wrong.
func strippedToo(refused *plan.SparseRefusedError, err error) error {
	var registry *endpoint.RegistryError
	if errors.As(err, &registry) && registry.Status < 500 {
		refused.StrippedRefusal = err
		return refused
	}
	return fmt.Errorf("writing the stripped list, after a refusal of the sparse one (%w): %w", refused.Refusal, err)
}
