package copy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/copy/plan"

	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// A job is one copy, from the first step to the last.
type job struct {
	copier   *Copier
	o        Options
	invalid  error // what is wrong with o
	policy   judge
	alone    bool // nobody else uses the caller's terminal
	destRef  types.ImageReference
	srcRef   types.ImageReference
	from, to string              // what the ends are called in transportTraits
	budget   *semaphore.Weighted // counts everything in flight
	progress *progress.Copy
	reporter *reporter

	src endpoint.Source
	dst endpoint.Destination // nil until opened

	compare bool // look at the destination before planning

	in   plan.Input // what is known so far
	plan *Plan
	// top is what the destination named when it was compared; "" if nothing, or if it did not tell, which topKnown says.
	top      digest.Digest
	topKnown bool
	// there are the images whose manifests the destination has although they are copied: under CheckBlobs.
	there map[digest.Digest]bool
	// misdeclared is set if the source declares a document that was read to be something else than it is; guarded by mu while
	// manifests are read.
	misdeclared bool
	held        int64 // bytes of the manifests that were fetched; guarded by mu
	// absent is what the source said about what is missing; guarded by mu while manifests are read.
	absent map[digest.Digest]error
	// untold are the manifests of which the destination did not tell whether it has them, and why; guarded by mu while it is asked.
	untold map[digest.Digest]error
	// support is what is known of the destination's view of sparse lists, nil until it matters.
	support    *SparseSupport
	supportErr error // why support is not known, nil if it is
	// settled is set if everything that the plan names is at the destination already, but perhaps for what is attached.
	settled bool
	// late are the images whose manifests are stored with the lists, because their subjects are such.
	late map[digest.Digest]imageCopy
	// unnamed is set once what the destination's reference is to name has been stored by its digest only.
	unnamed *endpoint.Document
	// judged are the images that the policy allows.
	judged map[digest.Digest]bool
	// signatures of what was read, by digest; absent where there is nothing to carry.
	mu         sync.Mutex
	signatures map[digest.Digest]endpoint.Signatures // guarded by mu
	reused     map[digest.Digest]bool                // blobs that the destination said it had; guarded by mu
	// carried are the signatures that travel as what a digest tag names, by what they sign and by digesttag.LayerKey.
	carried map[digest.Digest]map[string]bool
	// unlistable are what is copied whose referrers cannot be listed at the destination, which was said; guarded by mu.
	unlistable map[digest.Digest]bool
}

func (c *Copier) newJob(policy *signature.PolicyContext, destRef, srcRef types.ImageReference, options *Options) *job {
	var o Options
	if options != nil {
		o = *options
	}
	if c.budget != nil {
		o.MaxParallelDownloads = c.options.MaxParallelDownloads
	}
	j := &job{
		copier: c, o: o, invalid: o.validate(), policy: judge{&c.policies, policy}, alone: true, destRef: destRef, srcRef: srcRef, from: transportOf(srcRef), to: transportOf(destRef),
		progress: progress.New(o.ReportWriter, o.Progress, o.ProgressInterval), reporter: newReporter(time.Now()),
		judged:     map[digest.Digest]bool{},
		there:      map[digest.Digest]bool{},
		untold:     map[digest.Digest]error{},
		absent:     map[digest.Digest]error{},
		signatures: map[digest.Digest]endpoint.Signatures{},
		unlistable: map[digest.Digest]bool{},
		reused:     map[digest.Digest]bool{},
	}
	if j.budget = j.sharedBudget(); j.budget == nil {
		j.budget = j.o.budget()
	}
	j.in = plan.Input{
		Source: transports.ImageName(srcRef), Destination: transports.ImageName(destRef),
		Documents: map[digest.Digest]Document{}, Missing: map[digest.Digest]bool{}, Present: map[digest.Digest]bool{},
		PresenceUnknown: map[digest.Digest]bool{}, Stored: j.there,
		SignedLists: map[digest.Digest]int{}, SignaturesUnknown: map[digest.Digest]bool{}, DestinationDigest: digestOf(destRef), Choices: j.o.choices(),
	}
	return j
}

// sharedBudget is what this copy shares with others, nil if it has a budget of its own.
func (j *job) sharedBudget() *semaphore.Weighted {
	return cmp.Or(j.o.ConcurrentBlobCopiesSemaphore, j.copier.budget)
}

// digestOf returns the digest that a reference names, "" if it names none.
func digestOf(ref types.ImageReference) digest.Digest {
	if digested, ok := ref.DockerReference().(reference.Digested); ok {
		return digested.Digest()
	}
	return ""
}

// close closes both ends and fills in the caller's report about a copy that ended with err.
func (j *job) close(err error) error {
	j.progress.Release()
	j.progress.End()
	if j.src != nil {
		j.countEnd(SourceSide, j.src)
		err = joinClose(err, SourceSide, j.in.Source, j.src.Close())
	}
	if j.dst != nil {
		j.countEnd(DestinationSide, j.dst)
		err = joinClose(err, DestinationSide, j.in.Destination, j.dst.Close())
	}
	if j.o.Report != nil {
		*j.o.Report = *j.reporter.finish(j.plan, err)
	}
	return err
}

func joinClose(err error, side Side, object string, closeErr error) error {
	if closeErr == nil {
		return err
	}
	closing := &Error{"closing", side, object, closeErr}
	if err == nil {
		return closing
	}
	return &alsoClosing{err, closing}
}

// alsoClosing is the error of a copy whose end cannot be closed either. It unwraps to the copy's alone: programs follow Unwrap.
type alsoClosing struct{ err, closing error }

func (e *alsoClosing) Error() string        { return e.err.Error() + "\n" + e.closing.Error() }
func (e *alsoClosing) Unwrap() error        { return e.err }
func (e *alsoClosing) Is(target error) bool { return errors.Is(e.closing, target) }
func (e *alsoClosing) As(target any) bool   { return errors.As(e.closing, target) }

// concurrently runs f for each element within the budget, and returns the first error. It always waits for everything that it
// started, and it never leaves with nil if ctx ended.
func concurrently[T any](ctx context.Context, budget *semaphore.Weighted, elements []T, f func(context.Context, T) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for _, e := range elements {
		if err := budget.Acquire(groupCtx, 1); err != nil {
			break
		}
		group.Go(func() error {
			defer budget.Release(1)
			return f(groupCtx, e)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// one runs f within the budget.
func one(ctx context.Context, budget *semaphore.Weighted, f func() error) error {
	if err := budget.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer budget.Release(1)
	return f()
}

// A judge asks the signature policy, one image at a time.
type judge struct {
	turns   *turns.Turns[*signature.PolicyContext]
	context *signature.PolicyContext // evaluates with its turn only
}

// allow says whether the policy allows the image with digest d: nil, a *RejectedError, or context.Cause.
func (j judge) allow(ctx context.Context, d digest.Digest, image types.UnparsedImage) error {
	if j.context == nil {
		return &RejectedError{d, errors.New("no signature policy was given")}
	}
	done, err := j.turns.Take(ctx, j.context)
	if err != nil {
		return err
	}
	defer done()
	if allowed, err := j.context.IsRunningImageAllowed(ctx, image); err != nil {
		return &RejectedError{d, err}
	} else if !allowed {
		return &RejectedError{d, errors.New("the signature policy does not allow it")}
	}
	logrus.Debugf("signature policy allows %s", d)
	return nil
}

// countEnd notes what an end did, if it is one that counts.
func (j *job) countEnd(side Side, end any) {
	counter, ok := end.(interface{ Stats() registry.Stats })
	if !ok {
		return
	}
	stats := counter.Stats()
	j.reporter.update(func(r *Report) {
		e := &r.Source
		if side == DestinationSide {
			e = &r.Destination
		}
		e.Requests, e.Retries = stats.Requests, stats.Retries
	})
}

// document returns what was read for d.
func (j *job) document(d digest.Digest) (Document, error) {
	if d == j.in.Digest {
		return j.in.Top, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	doc, ok := j.in.Documents[d]
	if !ok {
		return Document{}, fmt.Errorf("manifest %s was not read", d)
	}
	return doc, nil
}
