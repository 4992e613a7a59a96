package copy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/originals"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// A Job is one of the copies that Images makes, or PlanImages plans.
type Job struct {
	Destination, Source types.ImageReference
	// Options of this copy; nil means those of ImagesOptions.
	Options *Options
}

// ImagesOptions are the choices of Images. The zero value is useful, and so is a nil
// *ImagesOptions.
type ImagesOptions struct {
	// Options of jobs that have none of their own; nil means the defaults.
	Options *Options
	// MaxJobs is how many copies run at the same time. 0 means 32.
	MaxJobs uint
	// MaxParallelDownloads, MaxRequestsPerHost and BytesPerSecondPerHost are those of
	// CopierOptions, for the functions Images and PlanImages. A Copier has its own.
	MaxParallelDownloads  uint
	MaxRequestsPerHost    uint
	BytesPerSecondPerHost uint64
	// Done is called after each copy, with its complete report; nil means that nobody wants it.
	// Calls do not overlap. PlanImages does not call it.
	Done func(Result, *Report)
}

// defaultJobs is how many copies Images makes at the same time: enough to fill the budget with
// images that are there already, about which there are one or two questions to ask at a time.
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

// Images makes many copies and returns how each ended, in the order of jobs. One that fails does
// not stop the others; when ctx ends, those that have not begun fail with context.Cause.
//
// The copies share what those of one Copier share, and policyContext, which must not be used
// elsewhere meanwhile. Two jobs with the same destination are copied in an unspecified order.
func Images(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions) []Result {
	c, own := options.copier()
	defer func() { _ = c.Close() }() // closes connections that nobody uses any more
	return c.Images(ctx, policyContext, jobs, own)
}

func (b *batch) images(ctx context.Context, jobs []Job) []Result {
	results := make([]Result, len(jobs))
	unbegun := inflight.Numbers(ctx, int64(b.maxJobs), len(jobs), func(i int) { results[i] = b.copy(ctx, i, jobs[i]) })
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
	// UpToDate is set if the destination is known to name what the plan says, with all that belongs
	// to it: nothing would be written.
	UpToDate bool
}

// PlanImages plans what Images would copy if it were called with the same arguments, and writes
// nothing. planned is called for each job, in the order in which they are done; calls do not
// overlap, and what it is called with is not kept, so that memory does not grow with the number of
// jobs. When ctx ends, jobs that have not begun have context.Cause for an error.
//
// The jobs share what those of Images share. Destinations are only touched by jobs whose Options
// set CompareDestination.
func PlanImages(ctx context.Context, policyContext *signature.PolicyContext, jobs []Job, options *ImagesOptions, planned func(PlannedImage)) {
	c, own := options.copier()
	defer func() { _ = c.Close() }()
	c.PlanImages(ctx, policyContext, jobs, own, planned)
}

func (b *batch) plan(ctx context.Context, jobs []Job, planned func(PlannedImage)) {
	unbegun := inflight.Numbers(ctx, int64(b.maxJobs), len(jobs), func(i int) {
		p := b.planOne(ctx, i, jobs[i])
		b.oneByOne(func() { planned(p) })
	})
	for i := unbegun; i < len(jobs); i++ {
		planned(PlannedImage{Job: i, Err: context.Cause(ctx)})
	}
}

// copier makes the Copier of one call with options, which may be nil, and returns what it does not
// know of them.
func (o *ImagesOptions) copier() (*Copier, *ImagesOptions) {
	if o == nil {
		return NewCopier(CopierOptions{}), nil
	}
	own := *o
	own.MaxParallelDownloads, own.MaxRequestsPerHost, own.BytesPerSecondPerHost = 0, 0, 0
	return NewCopier(CopierOptions{
		MaxParallelDownloads: o.MaxParallelDownloads, MaxRequestsPerHost: o.MaxRequestsPerHost, BytesPerSecondPerHost: o.BytesPerSecondPerHost,
	}), &own
}

// A batch is one call of Images or PlanImages.
type batch struct {
	copier  *Copier
	policy  *signature.PolicyContext
	options ImagesOptions
	maxJobs uint
	done    sync.Mutex // held while the caller's function runs
}

func newBatch(c *Copier, policyContext *signature.PolicyContext, options *ImagesOptions) *batch {
	b := &batch{copier: c, policy: policyContext}
	if options != nil {
		b.options = *options
	}
	if b.maxJobs = min(b.options.MaxJobs, math.MaxInt32); b.maxJobs == 0 {
		b.maxJobs = defaultJobs
	}
	return b
}

// oneByOne calls f when no other call is under way.
func (b *batch) oneByOne(f func()) {
	b.done.Lock()
	defer b.done.Unlock()
	f()
}

func (b *batch) copy(ctx context.Context, i int, job Job) Result {
	var report Report
	result := Result{Job: i}
	result.Err = b.image(ctx, job, &report)
	result.SourceDigest, result.DestinationDigest = report.SourceDigest, report.DestinationDigest
	result.Action, result.Written, result.BytesCopied = report.Action, report.Written, report.BytesCopied
	if b.options.Done != nil {
		b.oneByOne(func() { b.options.Done(result, &report) })
	}
	return result
}

func (b *batch) image(ctx context.Context, job Job, report *Report) error {
	c, err := b.newCall(job, report)
	if err != nil {
		return err
	}
	if _, err := copyImage(ctx, c); err != nil {
		return fmt.Errorf("copying to %s: %w", transports.ImageName(job.Destination), err)
	}
	return nil
}

func (b *batch) planOne(ctx context.Context, i int, job Job) PlannedImage {
	c, err := b.newCall(job, nil)
	if err != nil {
		return PlannedImage{Job: i, Err: err}
	}
	prepared, err := prepare(ctx, c)
	if err != nil {
		return PlannedImage{Job: i, Err: fmt.Errorf("planning to copy to %s: %w", transports.ImageName(job.Destination), err)}
	}
	if err := prepared.Close(); err != nil {
		return PlannedImage{Job: i, Err: err}
	}
	return PlannedImage{Job: i, Plan: prepared.Plan(), UpToDate: prepared.upToDate()}
}

// upToDate reports whether Execute would write nothing.
func (p *Prepared) upToDate() bool {
	return p.survey.settled && len(p.Plan().ToAttach())+len(originals.Lacking(p.Plan())) == 0
}

// newCall returns the copy that wanted is, or an error if it cannot be one of several.
func (b *batch) newCall(wanted Job, report *Report) (*call, error) {
	if wanted.Source == nil || wanted.Destination == nil {
		return nil, errors.New("job has no source or no destination")
	}
	if set := b.options.limits(); len(set) > 0 {
		return nil, &OptionsError{Options: set, Reason: "the limits of a Copier are those of its CopierOptions"}
	}
	var o Options
	if b.options.Options != nil {
		o = *b.options.Options
	}
	if wanted.Options != nil {
		o = *wanted.Options
	}
	if o.Report != nil {
		return nil, &OptionsError{Options: []string{"Report"}, Reason: "several copies cannot fill in one report; use ImagesOptions.Done"}
	}
	o.Report = report
	c := newCall(b.copier, b.policy, wanted.Destination, wanted.Source, &o)
	c.alone = false
	return c, nil
}

// limits returns the names of the limits that are set.
func (o *ImagesOptions) limits() []string {
	var set []string
	if o.MaxParallelDownloads > 0 {
		set = append(set, "ImagesOptions.MaxParallelDownloads")
	}
	if o.MaxRequestsPerHost > 0 {
		set = append(set, "ImagesOptions.MaxRequestsPerHost")
	}
	if o.BytesPerSecondPerHost > 0 {
		set = append(set, "ImagesOptions.BytesPerSecondPerHost")
	}
	return set
}
