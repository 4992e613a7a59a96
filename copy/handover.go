package copy

import (
	"cmp"
	"context"
	"fmt"
	"time"

	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/handover"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// upstreamOptionsOf are the options for upstream's copy of what was planned.
func upstreamOptionsOf(c *call, p *Plan) *upstream.Options {
	options := upstreamOptions(&c.o, p)
	options.ConcurrentBlobCopiesSemaphore = c.sharedBudget()
	return options
}

// handOver lets upstream's package copy what was planned. It gets the ends that are open already,
// so that it sees the same source, and writes where nothing is visible before everything is there.
//
// The policy has judged every image that is copied, by the reference that the caller gave. Upstream
// may see another one, which names the digest of what was planned, and must not judge by that.
func handOver(ctx context.Context, e *ends, s survey) ([]byte, error) {
	lines := e.progress.HandOver(e.alone) // upstream's lines come next
	options := upstreamOptionsOf(e.call, s.plan)
	options.ReportWriter = lines
	signers, done, err := e.keys.Lend(ctx)
	if err != nil {
		return nil, failure.New("signing for", DestinationSide, e.dstName, err)
	}
	defer done()
	options.Signers = signers
	src, err := handedOver(e, s.source).Reference(ctx)
	if err != nil {
		return nil, failure.New("naming", SourceSide, e.srcName, err)
	}
	err = inflight.One(ctx, e.budget, func() error {
		return access.CheckCredentials(ctx, e.dst, e.destRef, e.o.DestinationCtx, e.copier.shared)
	})
	if err != nil { // upstream would send them more than once
		return nil, failure.New(failure.Opening, DestinationSide, e.dstName, err)
	}
	dst, err := upstreamDestination(ctx, e)
	if err != nil {
		return nil, err
	}
	if options.ProgressInterval <= 0 {
		options.Progress = nil
	}
	if options.Progress == nil { // maybe nobody wants to know how far a blob has come
		options.ProgressInterval = cmp.Or(e.progress.FollowInterval(), time.Hour)
	}
	events, counted := e.progress.Watch(ctx, options.Progress)
	options.Progress = events
	copied, err := handover.Image(ctx, transport.OpenedDestination(e.destRef, dst), src, options)
	blobs := counted()
	e.reporter.Update(func(r *Report) {
		r.BlobsCopied, r.BlobsReused, r.BytesCopied = r.BlobsCopied+len(blobs.Copied), r.BlobsReused+len(blobs.Reused), plan.AddSize(r.BytesCopied, blobs.Bytes)
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("copying through upstream (%s): %w", s.plan.WayReason, err)
	}
	if err := dst.Publish(ctx); err != nil {
		return nil, failure.New("publishing", DestinationSide, e.dstName, err)
	}
	return copied, e.reporter.Through(s.plan, copied)
}

// handedOver is the source as upstream's copy gets it.
func handedOver(e *ends, l known.Source) *handover.Source {
	return &handover.Source{
		End: e.src, Ref: e.srcRef, Transport: e.from,
		Sys: e.o.SourceCtx, PreferGzip: e.o.PreferGzipInstances,
		Tree: l.Tree, Top: l.Top, System: l.System, Misdeclared: l.Misdeclared,
		Signatures: l.Signatures,
	}
}

// upstreamDestination opens the destination through its transport, in the place of one that is open
// otherwise.
func upstreamDestination(ctx context.Context, e *ends) (*transport.Destination, error) {
	if open, ok := e.dst.(*transport.Destination); ok {
		return open, nil
	}
	dst, err := access.OpenThrough(ctx, e.destRef, e.o.DestinationCtx, e.copier.shared)
	if err != nil {
		return nil, failure.New(failure.Opening, DestinationSide, e.dstName, err)
	}
	if e.dst != nil {
		err = e.dst.Close()
	}
	e.dst = dst
	if err != nil {
		return nil, failure.New("closing", DestinationSide, e.dstName, err)
	}
	return dst, nil
}
