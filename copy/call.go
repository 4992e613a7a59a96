package copy

import (
	"cmp"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/access"
	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
	"github.com/sparsecopy/sparsecopy/copy/internal/remembered"
	"github.com/sparsecopy/sparsecopy/copy/internal/reporting"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/internal/progress"
)

// A call is what a copy was asked for, and what serves all of its steps. No step changes a field.
type call struct {
	copier  *Copier
	o       Options
	choices plan.Choices // those of o
	policy  policy.Judge
	alone   bool // nobody else uses the caller's terminal

	srcRef, destRef  types.ImageReference
	from, to         string // what the ends are called in access.Transports
	srcName, dstName string // what the ends are called for people

	budget   *semaphore.Weighted // counts everything in flight
	progress *progress.Copy
	reporter *reporting.Collector
	memory   *remembered.Memory // of earlier copies like this one
}

func newCall(
	c *Copier, context *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options,
) *call {
	var o Options
	if options != nil {
		o = *options
	}
	if c.budget != nil {
		o.MaxParallelDownloads = c.options.MaxParallelDownloads
	}
	out := &call{
		copier: c, o: o, choices: o.choices(), policy: policy.Judge{Turns: &c.policies, Context: context}, alone: true,
		srcRef: srcRef, destRef: destRef, from: access.TransportOf(srcRef), to: access.TransportOf(destRef),
		srcName: transports.ImageName(srcRef), dstName: transports.ImageName(destRef),
		progress: progress.New(o.progress(c.clock())), reporter: reporting.New(c.clock()),
	}
	out.memory = c.remembered.Memory(destRef, upstreamOptions(&o, &Plan{}), access.Wanted(out.to, o.DestinationCtx))
	if out.budget = out.sharedBudget(); out.budget == nil {
		out.budget = budget.New(out.o.MaxParallelDownloads)
	}
	return out
}

// sharedBudget is what this copy shares with others, nil if it has a budget of its own.
func (c *call) sharedBudget() *semaphore.Weighted {
	return cmp.Or(c.o.ConcurrentBlobCopiesSemaphore, c.copier.budget)
}

// weight is what b counts for in the budget. In one that the caller has chosen everything counts
// the same.
func (o *Options) weight(b endpoint.Blob) int64 {
	if o.ConcurrentBlobCopiesSemaphore != nil || o.MaxParallelDownloads > 0 {
		return 1
	}
	return budget.Weight(b)
}
