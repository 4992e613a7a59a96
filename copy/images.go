package copy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// A Job is one of the copies that Images makes, or PlanImages plans.
type Job struct {
	Destination, Source types.ImageReference
	// Options of this copy; nil means those of ImagesOptions.
	Options *Options
}

// ImagesOptions are the choices of Images. The zero value is useful, and so is a nil *ImagesOptions.
type ImagesOptions struct {
	// Options of jobs that have none of their own; nil means the defaults.
	Options *Options
	// MaxJobs is how many copies run at the same time. 0 means 32.
	MaxJobs uint
	// MaxParallelDownloads limits what all copies together have in flight, in place of the Options of each. 0 means 32, or twice as
	// many if they are small, as in Options. Copies whose Options name a semaphore of their own are counted there.
	MaxParallelDownloads uint
	// MaxRequestsPerHost limits the requests in flight at each registry, those that read and those that write apart. 0 means no
	// limit but MaxParallelDownloads. Registries that are accessed through their transport are not limited.
	MaxRequestsPerHost uint
	// BytesPerSecondPerHost limits what is read from each registry, and what is written to each. 0 means no limit. Registries that are
	// accessed through their transport are not limited.
	BytesPerSecondPerHost uint64
	// Done is called after each copy, with its complete report; nil means that nobody wants it. Calls do not overlap. PlanImages does
	// not call it.
	Done func(Result, *Report)
}

// defaultJobs is how many copies Images makes at the same time: enough to fill the budget with images that are there already, about
// which there are one or two questions to ask at a time.
const defaultJobs = 32

// A Result says how one job ended. It is small, however large the image was: Done gets the rest.
type Result struct {
	Job int // its position in what Images was given
	Err error

	SourceDigest      digest.Digest
	DestinationDigest digest.Digest // "" if the copy failed
	Action            SparseManifestListAction
	Written           bool
	BytesCopied       int64
}

// Images makes many copies and returns how each ended, in the order of jobs. One that fails does not stop the others; when ctx
// ends, those that have not begun fail with context.Cause.
//
// The copies share connections, tokens, what is known about registries, the budget of what is in flight, and policyContext, which
// must not be used elsewhere meanwhile. A blob of several images is sent to a registry once, and mounted into the other repositories
// where the registry does that and the credentials are the same. They share the most if their Options have the same SourceCtx and DestinationCtx, by pointer.
// Two jobs with the same destination are copied in an unspecified order.
func Images(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions) []Result {
	if options == nil {
		options = &ImagesOptions{}
	}
	b := newBatch(policyContext, options)
	defer b.close()
	results := make([]Result, len(jobs))
	unbegun := b.each(ctx, len(jobs), func(i int) { results[i] = b.copy(ctx, i, jobs[i]) })
	for i := unbegun; i < len(jobs); i++ {
		results[i] = Result{Job: i, Err: context.Cause(ctx)}
	}
	return results
}

// A PlannedImage says what Images would do about one job.
type PlannedImage struct {
	Job int   // its position in what PlanImages was given
	Err error // what Prepare would return

	Plan *Plan // nil if Err is not
	// UpToDate is set if the destination is known to name what the plan says, with all that belongs to it: nothing would be written.
	UpToDate bool
}

// PlanImages plans what Images would copy if it were called with the same arguments, and writes nothing. planned is called for each
// job, in the order in which they are done; calls do not overlap, and what it is called with is not kept, so that memory does not grow
// with the number of jobs. When ctx ends, jobs that have not begun have context.Cause for an error.
//
// The jobs share what those of Images share. Destinations are only touched by jobs whose Options set CompareDestination.
func PlanImages(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions, planned func(PlannedImage)) {
	if options == nil {
		options = &ImagesOptions{}
	}
	b := newBatch(policyContext, options)
	defer b.close()
	unbegun := b.each(ctx, len(jobs), func(i int) {
		p := b.plan(ctx, i, jobs[i])
		b.oneByOne(ctx, func() { planned(p) })
	})
	for i := unbegun; i < len(jobs); i++ {
		planned(PlannedImage{Job: i, Err: context.Cause(ctx)})
	}
}

// A batch is what the copies of one call of Images or PlanImages share.
type batch struct {
	options *ImagesOptions
	maxJobs uint
	session session
	done    *semaphore.Weighted // of weight 1: held while the caller's function runs
}

func newBatch(policyContext *signature.PolicyContext, options *ImagesOptions) *batch {
	b := &batch{
		options: options, maxJobs: min(options.MaxJobs, math.MaxInt32),
		session: session{
			shared: &registry.Shared{
				MaxRequests:    int(min(options.MaxRequestsPerHost, math.MaxInt32)),
				BytesPerSecond: int64(min(options.BytesPerSecondPerHost, math.MaxInt64)),
			},
			judge:  &judge{context: policyContext},
			budget: (&Options{MaxParallelDownloads: options.MaxParallelDownloads}).budget(),
		},
		done: semaphore.NewWeighted(1),
	}
	if b.maxJobs == 0 {
		b.maxJobs = defaultJobs
	}
	return b
}

func (b *batch) close() { _ = b.session.shared.Close() } // closes connections that nobody uses any more

// each calls f with the numbers below n, as many at the same time as there may be jobs, and returns when all calls have. When ctx ends, it
// calls f no more: not with unbegun and what follows.
func (b *batch) each(ctx context.Context, n int, f func(i int)) (unbegun int) {
	slots := semaphore.NewWeighted(int64(b.maxJobs))
	for unbegun < n && slots.Acquire(ctx, 1) == nil {
		i := unbegun
		go func() {
			defer slots.Release(1)
			f(i)
		}()
		unbegun++
	}
	// All slots are free when all calls have ended. They end soon after ctx does.
	_ = slots.Acquire(context.WithoutCancel(ctx), int64(b.maxJobs))
	return unbegun
}

// oneByOne calls f when no other call is under way.
func (b *batch) oneByOne(ctx context.Context, f func()) {
	_ = b.done.Acquire(context.WithoutCancel(ctx), 1)
	defer b.done.Release(1)
	f()
}

func (b *batch) copy(ctx context.Context, i int, job Job) Result {
	var report Report
	result := Result{Job: i}
	result.Err = b.image(ctx, job, &report)
	result.SourceDigest, result.DestinationDigest = report.SourceDigest, report.DestinationDigest
	result.Action, result.Written, result.BytesCopied = report.Action, report.Written, report.BytesCopied
	if b.options.Done != nil {
		b.oneByOne(ctx, func() { b.options.Done(result, &report) })
	}
	return result
}

func (b *batch) image(ctx context.Context, job Job, report *Report) error {
	o, err := b.optionsOf(job)
	if err != nil {
		return err
	}
	o.Report = report
	if _, err := Image(ctx, b.session.judge.context, job.Destination, job.Source, o); err != nil {
		return fmt.Errorf("copying to %s: %w", transports.ImageName(job.Destination), err)
	}
	return nil
}

func (b *batch) plan(ctx context.Context, i int, job Job) PlannedImage {
	o, err := b.optionsOf(job)
	if err != nil {
		return PlannedImage{Job: i, Err: err}
	}
	prepared, err := Prepare(ctx, b.session.judge.context, job.Destination, job.Source, o)
	if err != nil {
		return PlannedImage{Job: i, Err: fmt.Errorf("planning to copy to %s: %w", transports.ImageName(job.Destination), err)}
	}
	if err := prepared.Close(); err != nil {
		return PlannedImage{Job: i, Err: err}
	}
	return PlannedImage{Job: i, Plan: prepared.Plan(), UpToDate: prepared.upToDate()}
}

// upToDate says whether Execute would write nothing.
func (p *Prepared) upToDate() bool {
	absent := func(a AttachedPlan) bool { return a.Decision == Copy && !a.Present }
	return p.job.settled && !slices.ContainsFunc(p.Plan().Attached, absent)
}

// optionsOf returns the options of a job's copy, or an error if the job cannot be one of several.
func (b *batch) optionsOf(job Job) (*Options, error) {
	if job.Source == nil || job.Destination == nil {
		return nil, errors.New("job has no source or no destination")
	}
	var o Options
	if b.options.Options != nil {
		o = *b.options.Options
	}
	if job.Options != nil {
		o = *job.Options
	}
	if o.Report != nil {
		return nil, &OptionsError{[]string{"Report"}, "several copies cannot fill in one report; use ImagesOptions.Done"}
	}
	o.session = b.session
	o.MaxParallelDownloads = b.options.MaxParallelDownloads
	return &o, nil
}
