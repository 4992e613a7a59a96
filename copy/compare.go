package copy

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/asking"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// compareTree asks the destination which of the wanted children it has, and settles the copy if
// nothing is left to do. Signatures are read meanwhile, which every way to go on needs.
func compareTree(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked || asksMeanwhile(e, s) {
		return s, nil
	}
	s, err := compareEarlier(ctx, e, s)
	if err != nil || s.settled {
		return s, err
	}
	if e.o.CheckBlobs {
		wanted, err := e.asks().Wanted(ctx, s.plan, s.there)
		if s.there = s.there.WithStored(wanted); err != nil {
			return s, err
		}
		return reconsider(ctx, e, s)
	}
	var wanted endpoint.Answers
	var blobs map[digest.Digest]bool
	source := s.source
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		wanted, err = e.asks().Wanted(groupCtx, s.plan, s.there)
		return err
	})
	group.Go(func() (err error) {
		blobs, err = endpoint.Present(groupCtx, e.budget, e.dst, work.Entries(s.plan))
		return err
	})
	group.Go(func() (err error) {
		source, err = withSignatures(groupCtx, e, s)
		return err
	})
	if err = group.Wait(); err != nil {
		return s, err
	}
	s.there = s.there.WithPresent(wanted)
	s.there.Blobs = blobs
	s.source = source
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	if s, err = askOriginal(ctx, e, s); err != nil {
		return s, err
	}
	if s, err = reconsider(ctx, e, s); err != nil {
		return s, err
	}
	return settle(ctx, e, s)
}

// withSignatures returns what is known of the source with the signatures of what is wanted, those
// included that travel with an original. No way to go on does without.
func withSignatures(ctx context.Context, e *ends, s survey) (known.Source, error) {
	var read known.Signed
	var original *originals.Found
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		read, err = readImageSignatures(groupCtx, e, s.source, s.plan.Wanted())
		return err
	})
	group.Go(func() (err error) {
		original, err = findOriginal(groupCtx, e, s)
		return err
	})
	if err := group.Wait(); err != nil {
		return s.source, err
	}
	return withOriginal(e, s.source.WithSignatures(read), original), nil
}

// asksMeanwhile reports whether compareMeanwhile asks what is there, while the images' manifests
// are read: most likely nothing is there, or some of them have to be read whatever is.
func asksMeanwhile(e *ends, s survey) bool {
	unread := len(s.plan.Copies)+len(s.plan.Transforms()) > 0
	return s.there.Top == "" || mayChange(e.call) && unread && !e.o.CheckBlobs
}

// reconsider plans a list that Auto has stripped earlier anew, if the registry announces by now
// that it takes sparse ones. That is asked where it was asked before, by a copy of the same Copier:
// whoever copies once has no question more.
func reconsider(ctx context.Context, e *ends, s survey) (survey, error) {
	dst, ok := e.dst.(*registry.Destination)
	if !ok || !dst.AskedForAnnouncement() {
		return s, nil
	}
	if e.o.SparseManifestListAction != AutoSparseManifestList || !s.plan.Strips() || s.plan.Digest != s.there.Top {
		return s, nil
	}
	s.there = s.there.WithSupport(askSupport(ctx, e, s))
	s.there.Sparse = *s.there.Support
	return e.replanned(s)
}

// askSupport asks what the destination says of sparse lists, as far as that matters to the plan.
func askSupport(ctx context.Context, e *ends, s survey) (plan.SparseSupport, error) {
	in := e.input(s.source, s.there)
	return e.asks().Support(ctx, func(said plan.SparseSupport) bool { return plan.Suffices(&in, s.plan, said) })
}

// compareMeanwhile asks the destination what is to be known about s beside the manifests of its
// images: all at the same time.
func compareMeanwhile(ctx context.Context, e *ends, s survey) (known.Destination, error) {
	there := s.there
	if !there.Asked {
		return there, nil
	}
	var wanted, list endpoint.Answers
	group, groupCtx := errgroup.WithContext(ctx)
	if asksMeanwhile(e, s) && !e.o.CheckBlobs {
		group.Go(func() (err error) {
			wanted, err = e.asks().Wanted(groupCtx, s.plan, s.there)
			return err
		})
	}
	if s.plan.Sparse() {
		group.Go(func() error {
			there = there.WithSupport(askSupport(groupCtx, e, s))
			return nil
		})
	}
	if in := e.input(s.source, s.there); s.there.Top != "" && plan.MayWiden(&in, s.plan) {
		group.Go(func() (err error) {
			list, err = e.asks().List(groupCtx, &in, s.plan, s.there)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return s.there, err
	}
	return there.WithPresent(wanted).WithStored(list), nil
}

// compareList asks the destination what it makes of the list that was planned, makes the plan anew
// if that tells something, and settles the copy if nothing is left to do: what is missing at the
// source is known only now, and the destination may have all the rest.
func compareList(ctx context.Context, e *ends, s survey) (survey, error) {
	s, err := lateOriginal(ctx, e, s)
	if err != nil {
		return s, err
	}
	if s, err = foresee(ctx, e, s); err != nil {
		return s, err
	}
	if s, err = askNested(ctx, e, s); err != nil {
		return s, err
	}
	return settle(ctx, e, s)
}

// askNested asks the destination for the plan's nested lists that are others than when these were
// asked for, since it is known by now what becomes of their images, if the rest may be there.
func askNested(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked || e.o.CheckBlobs || s.plan.List == nil || s.there.Top == "" || s.there.Top != s.plan.Digest {
		return s, nil
	}
	unasked := s.there.Unasked(s.plan.List.NestedLists())
	if len(unasked) == 0 {
		return s, nil
	}
	nested, err := e.asks().Present(ctx, unasked)
	if err != nil {
		return s, err
	}
	s.there = s.there.WithPresent(nested)
	return e.replanned(s)
}

// foresee asks what else a plan of a sparse list depends on, or of a list that is at the
// destination and gets children, and makes that plan, if the destination is known to have a view of
// sparse lists. That may be known only now: of what is missing at the source.
func foresee(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked {
		return s, nil
	}
	in := e.input(s.source, s.there)
	if plan.MayWiden(&in, s.plan) {
		list, err := e.asks().List(ctx, &in, s.plan, s.there)
		if err != nil {
			return s, err
		}
		s.there = s.there.WithStored(list)
		in = e.input(s.source, s.there)
	}
	adds := plan.Adds(&in, s.plan)
	if !s.plan.Sparse() && !adds {
		return s, nil
	}
	if s.there.Support == nil {
		s.there = s.there.WithSupport(askSupport(ctx, e, s))
	}
	support := *s.there.Support
	if support.Unanswered && (e.o.CompareDestination || adds) { // otherwise a copy will see for itself
		e.reporter.Warn(fmt.Sprintf("whether the destination takes sparse lists, and keeps what is added to one, could not be asked, and is not known: %v", s.there.SupportErr))
	}
	s.there.Sparse = support
	if !support.Known && !(support.Unanswered && e.o.WidenedChildTags) {
		return s, nil
	}
	if support.Known { // what is not copied may be at the destination all the same, from an earlier copy
		in = e.input(s.source, s.there)
		demanded, err := e.asks().Present(ctx, plan.Demanded(&in, s.plan))
		if err != nil {
			return s, err
		}
		s.there = s.there.WithPresent(demanded)
	}
	if support.LosesAdded() {
		list, err := e.asks().List(ctx, &in, s.plan, s.there)
		if err != nil {
			return s, err
		}
		s.there = s.there.WithStored(list)
	}
	return e.replanned(s)
}

// settle returns s as settled if the destination is known to have all that the plan names.
func settle(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.there.Asked || e.o.CheckBlobs {
		return s, nil
	}
	if level := asking.Checked(s.plan, s.there); level != "" {
		return upToDate(ctx, e, s, level)
	}
	return s, nil
}

// upToDate settles a copy for which everything that the plan names is at the destination, unless
// signatures are lacking there.
func upToDate(ctx context.Context, e *ends, s survey, level CheckLevel) (survey, error) {
	read, err := readImageSignatures(ctx, e, s.source, s.plan.Wanted())
	if err != nil {
		return s, err
	}
	s.source = s.source.WithSignatures(read)
	lacking, err := e.signingFor(s.source, s.there).Lacking(ctx, slices.Concat(s.plan.Stored(), s.plan.Lists()))
	if err != nil || len(lacking) > 0 {
		return s, err
	}
	return settled(ctx, e, s, level)
}

// settled settles a copy for which everything that the plan names is at the destination, signatures
// included. The policy is asked all the same; it reads what it wants to see.
func settled(ctx context.Context, e *ends, s survey, level CheckLevel) (survey, error) {
	var err error
	if s.source, err = e.reader().Judge(ctx, s.source, s.plan.Judged()); err != nil {
		return s, err
	}
	s.there = s.there.WithPresent(endpoint.All(s.plan.Stored()))
	if s, err = e.replanned(s); err != nil {
		return s, err
	}
	e.reporter.Update(func(r *Report) {
		r.Checked = level
		r.DestinationDigest = s.plan.Digest
	})
	e.reporter.SetComplete()
	e.progress.Line("All images are at the destination already")
	s.settled = true
	return s, nil
}
