package copy

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// A Job is one of the copies that Images makes.
type Job struct {
	Destination, Source types.ImageReference
	// Options of this copy; nil means those of ImagesOptions.
	Options *Options
}

// ImagesOptions are the choices of Images. The zero value is useful, and so is a nil *ImagesOptions.
type ImagesOptions struct {
	// Options of jobs that have none of their own; nil means the defaults.
	Options *Options
	// MaxJobs is how many copies run at the same time. 0 means 16.
	MaxJobs uint
	// MaxParallelDownloads limits what all copies together have in flight. 0 means 32. Copies whose Options name a semaphore
	// of their own are counted there.
	MaxParallelDownloads uint
	// MaxRequestsPerHost limits the requests in flight at each registry, those that read and those that write apart. 0 means no
	// limit but MaxParallelDownloads. Registries that are accessed through their transport are not limited.
	MaxRequestsPerHost uint
	// BytesPerSecondPerHost limits what is read from each registry, and what is written to each. 0 means no limit. Registries that are
	// accessed through their transport are not limited.
	BytesPerSecondPerHost uint64
	// Done is called after each copy, with its complete report; nil means that nobody wants it. Calls do not overlap.
	Done func(Result, *Report)
}

// defaultJobs is how many copies Images makes at the same time: enough to fill the budget with small images.
const defaultJobs = 16

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
	slots := semaphore.NewWeighted(int64(b.maxJobs))
	for i, job := range jobs {
		results[i].Job = i
		if err := slots.Acquire(ctx, 1); err != nil {
			results[i].Err = context.Cause(ctx)
			continue
		}
		go func() {
			defer slots.Release(1)
			results[i] = b.copy(ctx, i, job)
		}()
	}
	// All slots are free when all copies have ended. They end soon after ctx does.
	_ = slots.Acquire(context.WithoutCancel(ctx), int64(b.maxJobs))
	return results
}

// A batch is what the copies of one call of Images share.
type batch struct {
	options *ImagesOptions
	maxJobs uint
	session session
	budget  *semaphore.Weighted
	done    *semaphore.Weighted // of weight 1: held while ImagesOptions.Done runs
}

func newBatch(policyContext *signature.PolicyContext, options *ImagesOptions) *batch {
	b := &batch{
		options: options, maxJobs: options.MaxJobs,
		session: session{
			shared: &registry.Shared{
				MaxRequests:    int(min(options.MaxRequestsPerHost, math.MaxInt32)),
				BytesPerSecond: int64(min(options.BytesPerSecondPerHost, math.MaxInt64)),
			},
			judge: &judge{context: policyContext},
		},
		budget: (&Options{MaxParallelDownloads: options.MaxParallelDownloads}).budget(),
		done:   semaphore.NewWeighted(1),
	}
	if b.maxJobs == 0 {
		b.maxJobs = defaultJobs
	}
	return b
}

func (b *batch) close() { _ = b.session.shared.Close() } // closes connections that nobody uses any more

func (b *batch) copy(ctx context.Context, i int, job Job) Result {
	var report Report
	result := Result{Job: i}
	result.Err = b.image(ctx, job, &report)
	result.SourceDigest, result.DestinationDigest = report.SourceDigest, report.DestinationDigest
	result.Action, result.Written, result.BytesCopied = report.Action, report.Written, report.BytesCopied
	if b.options.Done != nil {
		_ = b.done.Acquire(context.WithoutCancel(ctx), 1)
		defer b.done.Release(1)
		b.options.Done(result, &report)
	}
	return result
}

func (b *batch) image(ctx context.Context, job Job, report *Report) error {
	if job.Source == nil || job.Destination == nil {
		return errors.New("job has no source or no destination")
	}
	var o Options
	if b.options.Options != nil {
		o = *b.options.Options
	}
	if job.Options != nil {
		o = *job.Options
	}
	if o.Report != nil {
		return &OptionsError{[]string{"Report"}, "several copies cannot fill in one report; use ImagesOptions.Done"}
	}
	o.session = b.session
	o.Report = report
	if o.ConcurrentBlobCopiesSemaphore == nil {
		o.ConcurrentBlobCopiesSemaphore = b.budget
	}
	if _, err := Image(ctx, b.session.judge.context, job.Destination, job.Source, &o); err != nil {
		return fmt.Errorf("copying to %s: %w", transports.ImageName(job.Destination), err)
	}
	return nil
}
