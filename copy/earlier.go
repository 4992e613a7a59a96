package copy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/earlier"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// Earlier is what an earlier copy has left, whose references and options were the same: any
// difference voids it. It is the caller's word, as a file with the state of a mirror has it, and
// saves questions; it never makes a copy believe that a reference names something which it does not
// name now.
//
// If both references name what they did, and the options let nothing else be asked of the source,
// two HEADs settle the copy: there is no plan then, and Image returns no manifest. Signatures, what
// is attached, and policies that want to see something are asked for all the same, and if nothing
// has changed, the destination is asked for nothing but its reference. Options.CheckBlobs and
// Recheck look at the destination nevertheless. Where it has lost something that the source does
// not have any more, the copy fails with a *DamagedError. If the source's reference names nothing
// any more, the destination is held against its own lists: if it is complete, Report.Warnings says
// so, and the copy does not fail.
type Earlier struct {
	// Source and Destination are Report.SourceDigest and DestinationDigest of then, Wanted and
	// Verified its Wanted and VerifiedAt. "" and zero for what is not known.
	Source, Destination, Wanted digest.Digest
	Verified                    time.Time
}

// asEarlier settles the copy if both references name what they did when Options.Earlier was left,
// and nothing else is to be asked. Otherwise the source is asked already, but not read.
func asEarlier(ctx context.Context, e *ends, s survey) (survey, error) {
	if allowed, err := asksNoMore(ctx, e.call); err != nil || !allowed || !s.there.Asked {
		return s, err
	}
	src, how, err := access.NewSource(e.srcRef, e.o.SourceCtx, e.copier.shared)
	if err != nil {
		return s, failure.New(failure.Opening, SourceSide, e.srcName, err)
	}
	if src == nil {
		return s, nil
	}
	e.src = src
	e.reporter.Update(func(r *Report) { r.Source = how })
	var named digest.Digest
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return inflight.One(groupCtx, e.budget, func() (err error) {
			if named, err = src.Named(groupCtx); err != nil {
				err = failure.New(failure.Opening, SourceSide, e.srcName, err)
			}
			return err
		})
	})
	group.Go(func() error {
		s.there = e.named(groupCtx, s.there)
		return nil
	})
	if err := group.Wait(); err != nil {
		return s, err
	}
	if named != e.o.Earlier.Source || s.there.Top != e.o.Earlier.Destination || !e.o.RemoveSignatures && !src.Unsigned() {
		return s, nil
	}
	return stays(e, s, CheckedEarlier), nil
}

// asksNoMore reports whether there is nothing to ask but what both references name, if that is what
// Options.Earlier says: neither the policy nor an option wants to see anything else.
func asksNoMore(ctx context.Context, c *call) (bool, error) {
	o := &c.o
	if o.Earlier == nil || o.Earlier.Source == "" || o.Earlier.Destination == "" || o.Earlier.Wanted == "" {
		return false, nil
	}
	if o.Recheck || o.CheckBlobs || o.AlwaysSign || o.AttachOriginal || c.choices.Attaches() || mayChange(c) {
		return false, nil
	}
	return c.policy.AllowsUnseen(ctx, c.srcRef)
}

// mayBeAsEarlier reports whether the destination may be as Options.Earlier says, as far as is known
// when both ends are open, and nobody asks for a closer look.
func mayBeAsEarlier(c *call, s survey) bool {
	o := &c.o
	return o.Earlier != nil && o.Earlier.Wanted != "" && s.there.Top != "" && s.there.Top == o.Earlier.Destination &&
		!o.Recheck && !o.CheckBlobs && !o.AlwaysSign && !mayChange(c)
}

// compareEarlier reads what else the source has to say, and settles the copy if the plan wants
// what Options.Earlier says that the destination has. If not, the destination is asked for what was
// put off.
func compareEarlier(ctx context.Context, e *ends, s survey) (survey, error) {
	if !s.asEarlier {
		return s, nil
	}
	var err error
	if s.source, err = withSignatures(ctx, e, s); err == nil {
		s, err = e.replanned(s)
	}
	if err != nil {
		return s, err
	}
	if earlier.Wanted(s.plan, s.source) == e.o.Earlier.Wanted {
		s.there = s.there.WithPresent(endpoint.All(earlier.Attached(s.plan, e.dst)))
		s.source = s.source.WithAttached()
		return settled(ctx, e, s, CheckedEarlier)
	}
	s.asEarlier = false
	if !e.choices.Attaches() {
		return s, nil
	}
	return compareAttachments(ctx, e, s)
}

// stays settles a copy without a plan: the destination has what Options.Earlier says.
func stays(e *ends, s survey, level CheckLevel) survey {
	o := e.o.Earlier
	e.reporter.Update(func(r *Report) {
		r.SourceDigest, r.DestinationDigest, r.Checked = o.Source, o.Destination, level
	})
	e.reporter.Left(o.Wanted, o.Verified)
	e.progress.Line("All images are at the destination already")
	s.settled = true
	return s
}

// leave reports what the copy has left at the destination.
func leave(e *ends, s survey) {
	var wanted digest.Digest
	if !e.o.AlwaysSign {
		wanted = earlier.Wanted(s.plan, s.source)
	}
	e.reporter.Left(wanted, e.earlier().Left.Verified)
}

// sourceGone goes on after the source has said that its reference names nothing any more, with gone
// for its error: the copy is settled if Options.Earlier says what the destination had, and it still
// has all of that.
func sourceGone(ctx context.Context, e *ends, s survey, gone error) (survey, error) {
	if !s.there.Asked {
		return s, gone
	}
	open := func() (endpoint.SizedSource, error) {
		own, _, err := access.OpenSource(ctx, access.Own(e.destRef), e.o.DestinationCtx, e.copier.shared)
		return own, err
	}
	reader := e.reader()
	reader.Name = e.dstName
	reader.Fail = func(op, object string, err error) error { return failure.New(op, DestinationSide, object, err) }
	if err := e.earlier().Survives(ctx, gone, open, earlier.Mirror{Reader: reader, Blobs: e.o.CheckBlobs}); err != nil {
		return s, err
	}
	e.reporter.Warn(fmt.Sprintf("the source is gone; the destination has the lists and images that an earlier copy has left there (what is attached to them was not looked for): %v", gone))
	s = stays(e, s, CheckedChildren)
	e.reporter.Update(func(r *Report) { r.SourceDigest = "" })
	return s, nil
}

// checkLost fails if the destination has lost what is to be left out.
func checkLost(ctx context.Context, e *ends, s survey) (survey, error) {
	return s, e.earlier().CheckLost(ctx, s.plan, s.source, s.there)
}

// mended fails if what the destination has handed out with other bytes still is.
func mended(ctx context.Context, e *ends, s survey) error {
	err := e.earlier().Mended(ctx, s.plan, s.there)
	if err != nil {
		e.reporter.Update(func(r *Report) { r.DestinationDigest = "" })
	}
	return err
}

// heal copies what else the destination has lost of a list, where err says that the source does not
// have something any more: images by their digests, so that its reference goes on naming what it
// named.
func heal(ctx context.Context, e *ends, s survey, err error) {
	if _, damaged := errors.AsType[*DamagedError](err); !damaged || !errors.Is(err, ErrNotFound) || s.plan == nil || s.plan.List == nil {
		return
	}
	skipping, rest := *e.call, *e
	skipping.choices.MissingInstances = SkipMissing
	rest.call = &skipping
	s, err = rest.replanned(s)
	if err == nil {
		var to *storer
		if to, err = openStorer(ctx, &rest, s); err == nil {
			_, err = execute(ctx, to)
		}
	}
	if err != nil {
		e.reporter.Warn(fmt.Sprintf("what else the destination may have lost is not copied again: %v", err))
	}
}
