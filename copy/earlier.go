package copy

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/earlier"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
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
		s.there.Top, s.there.TopKnown = e.asks().Top(groupCtx)
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
	var left Earlier
	if e.o.Earlier != nil {
		left = *e.o.Earlier
	}
	left.Wanted = ""
	if !e.o.AlwaysSign {
		left.Wanted = earlier.Wanted(s.plan, s.source)
	}
	e.reporter.Left(left.Wanted, left.Verified)
}
