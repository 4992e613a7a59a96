package copy

import (
	"cmp"
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/asking"
	"github.com/sparsecopy/sparsecopy/copy/internal/earlier"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/reading"
	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// ends are the two ends of a call, as far as they are open.
type ends struct {
	*call
	src       endpoint.SizedSource // nil until it is opened
	dst       endpoint.Destination // nil until it is opened: most steps can do without
	referrers *registry.Source     // Options.ReferrersFrom; nil for none, and until it is opened
	keys      *signing.Keys        // that sign what is copied; nil for none, and until they are opened
	kept      *signing.Keys        // that sign for nobody but vouch: those of a copy that attaches originals, which has no other keys
}

// open opens the source. If the destination is to be asked what it has, and that is possible
// without changing anything there, it is opened too, and asked what its reference names at the same
// time.
func open(ctx context.Context, e *ends, s survey) (survey, error) {
	if err := e.openReferrers(); err != nil {
		return s, err
	}
	s.there.Asked = s.there.Asked && mayCompare(e.call)
	if s.there.Asked {
		if err := e.openDestination(ctx); err != nil {
			return s, err
		}
	}
	s, err := asEarlier(ctx, e, s)
	if err != nil || s.settled {
		return s, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return inflight.One(groupCtx, e.budget, func() error { return e.openSource(groupCtx) })
	})
	if s.there.Asked && !s.there.TopKnown {
		group.Go(func() error {
			s.there = e.named(groupCtx, s.there)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return sourceGone(ctx, e, s, err)
	}
	s.asEarlier = mayBeAsEarlier(e.call, s)
	s.source.Top = e.src.Top()
	d := s.source.Top.Digest
	e.reporter.Update(func(r *Report) { r.SourceDigest = d })
	logrus.Debugf("%s is %s (%s)", e.srcName, d, s.source.Top.MediaType)
	return s, nil
}

// mayCompare reports whether what the destination has says anything about what has to be copied,
// and can be asked for.
func mayCompare(c *call) bool {
	return plan.CertainWay(wayFacts(&c.o, c.from, c.to)) == plan.Native && access.Transports[c.to].Peekable
}

// mayChange reports whether images may be asked to be as they need not be at the source, so that
// they have to be read before anything can be said of them.
func mayChange(c *call) bool {
	return wayFacts(&c.o, c.from, c.to).MayChangeImages(&c.choices, access.Transports[c.to].Layers)
}

// asks returns who asks the destination, which is open.
func (e *ends) asks() asking.Destination {
	return asking.Destination{End: e.dst, Name: e.dstName, Budget: e.budget, Warn: e.reporter.Warn}
}

// earlier compares the copy with what Options.Earlier says, once the destination is open.
func (e *ends) earlier() earlier.Copy {
	c := earlier.Copy{Asks: e.asks()}
	if e.o.Earlier != nil {
		c.Left = earlier.Left(*e.o.Earlier)
	}
	return c
}

// named returns there with what the destination's reference names.
func (e *ends) named(ctx context.Context, there known.Destination) known.Destination {
	if e.o.Recheck {
		there.Top, there.TopKnown, there.Spoilt = e.asks().Read(ctx)
	} else {
		there.Top, there.TopKnown = e.asks().Top(ctx)
	}
	return there
}

// openSource opens the source, or reads what it names if asEarlier has opened it.
func (e *ends) openSource(ctx context.Context) error {
	if asked, ok := e.src.(*registry.Source); ok {
		if err := asked.Read(ctx); err != nil {
			return failure.New(failure.Opening, SourceSide, e.srcName, err)
		}
		return nil
	}
	src, how, err := access.OpenSource(ctx, e.srcRef, e.o.SourceCtx, e.copier.shared)
	if err != nil {
		return failure.New(failure.Opening, SourceSide, e.srcName, err)
	}
	if scattered, ok := src.(endpoint.Scattered); ok {
		scattered.ReadElsewhere(func(ctx context.Context, image types.ImageReference, b endpoint.Blob) (io.ReadCloser, error) {
			return access.ReadBlob(ctx, image, b, e.o.SourceCtx, e.copier.shared)
		})
	}
	e.src = src
	e.reporter.Update(func(r *Report) { r.Source = how })
	return nil
}

// reader returns what reads the source, which is open.
func (e *ends) reader() *reading.Reader {
	r := &reading.Reader{
		Source: e.src, Name: e.srcName, Choices: &e.choices, Policy: e.policy, Budget: e.budget, Warn: e.reporter.Warn,
		Open: e.held, Fail: func(op, object string, err error) error { return failure.New(op, SourceSide, object, err) },
	}
	if from := e.referrers; from != nil {
		r.Elsewhere = &attach.Place{Name: from.Repository(), Referrers: from, Manifest: from.Manifest}
	}
	return r
}

// openKeys opens the keys, for all steps or for vouch alone.
func (e *ends) openKeys() error {
	keys, err := e.copier.ring.Open(e.o.signing(), e.destRef)
	if e.o.AttachOriginal {
		e.kept = keys
	} else {
		e.keys = keys
	}
	return err
}

// openReferrers opens Options.ReferrersFrom, if there is one. Nobody is asked yet.
func (e *ends) openReferrers() (err error) {
	from := e.o.ReferrersFrom
	if from == nil {
		return nil
	}
	if e.referrers, err = registry.OpenRepository(from.Reference, from.SystemContext, e.copier.shared); err != nil {
		return failure.New(failure.Opening, ReferrersSide, transports.ImageName(from.Reference), err)
	}
	return nil
}

// openDestination opens the destination, unless it is open.
func (e *ends) openDestination(ctx context.Context) error {
	if e.dst != nil {
		return nil
	}
	dst, how, err := access.OpenDestination(ctx, e.destRef, e.o.DestinationCtx, e.copier.shared)
	if err != nil {
		return failure.New(failure.Opening, DestinationSide, e.dstName, err)
	}
	e.dst = dst
	e.reporter.Update(func(r *Report) { r.Destination = how })
	return nil
}

// opener returns an Opener of b where its owner is, a manifest or list that names it. bp, if not
// nil, is told what is read.
func (e *ends) opener(l known.Source, owner digest.Digest, b endpoint.Blob, bp *progress.Blob) endpoint.Opener {
	src, side := e.where(l, owner)
	return reading.OpenBlob(src.Blob, side, b, bp)
}

// held is opener for what is read into memory: it may be what was read by an earlier copy.
func (e *ends) held(l known.Source, owner digest.Digest, b endpoint.Blob) endpoint.Opener {
	src, side := e.where(l, owner)
	return reading.OpenBlob(endpoint.ReadHeld(src), side, b, nil)
}

// where is the source, or, if l says so of a manifest or list, Options.ReferrersFrom.
func (e *ends) where(l known.Source, d digest.Digest) (endpoint.Source, Side) {
	if l.Referrers[d] {
		return e.referrers, ReferrersSide
	}
	return e.src, SourceSide
}

// close closes source and destination, and fills in the caller's report. err is that of the copy;
// what goes wrong here is added to it.
func (e *ends) close(err error) error {
	e.progress.Release()
	e.progress.End()
	e.count()
	if e.src != nil {
		err = failure.Closing(err, SourceSide, e.srcName, e.src.Close())
	}
	if e.dst != nil {
		err = failure.Closing(err, DestinationSide, e.dstName, e.dst.Close())
	}
	if e.referrers != nil {
		_ = e.referrers.Close() // which has nothing of its own
	}
	if failed := cmp.Or(e.keys, e.kept).Close(); failed != nil {
		err = endpoint.AlsoClosing(err, failure.New("closing the keys to sign for", DestinationSide, e.dstName, failed))
	}
	if e.o.Report != nil {
		*e.o.Report = *e.reporter.Finish(err)
	}
	return err
}

// count reports how many requests the ends have made, if they count them.
func (e *ends) count() { e.reporter.Requests(e.src, e.dst, e.referrers) }
