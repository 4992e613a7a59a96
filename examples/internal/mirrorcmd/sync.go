package mirrorcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// StatusUnchanged is the exit status of mirror sync --exit-unchanged if everything was there
// already.
const StatusUnchanged = 3

// A syncCommand is mirror sync.
type syncCommand struct {
	env    *environment
	access access
	out    output

	jobs, parallel, requests uint
	bytes                    uint64
	retries                  uint
	shard                    shard
	dryRun                   bool
	exitUnchanged            bool
	stateDir                 string
	files                    syncOutputs
	removal                  removalFlags
}

func (c *syncCommand) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync [flags] FILE",
		Short: "Copy all images that a file names",
		Long: "Sync makes destinations have what a YAML file says, and prints a summary. What is there already is not copied again. One\n" +
			"image that fails does not stop the others. FILE \"-\" is standard input.\n\n" +
			"Exit status: 0 if everything is there, 1 if something failed, 2 if the command line or the file is wrong, and with\n" +
			"--exit-unchanged, 3 if there was nothing to do.",
		Example: "  mirror sync --dry-run images.yaml\n" +
			"  mirror sync --shard \"$JOB_COMPLETION_INDEX/8\" --output json images.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misusef("mirror %s takes one FILE, and %d arguments were given; see mirror %s --help", cmd.Name(), len(args), cmd.Name())
			}
			return nil
		},
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	c.define(flags)
	c.removal.define(flags)
	c.files.define(flags)
	c.out.define(flags, "the report")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.define(flags)
	for _, name := range systemFlags { // no image of a file is chosen by system
		_ = flags.MarkHidden(name)
	}
	return cmd
}

func (c *syncCommand) define(flags *pflag.FlagSet) {
	c.jobs = defaultJobs
	flags.BoolVar(&c.dryRun, "dry-run", false, "say what would be done, and write nothing")
	flags.Var(count{&c.jobs}, "jobs", "how many images are copied at the same time")
	flags.Var(count{&c.parallel}, "parallel", "how many blobs and manifests of all images may be in flight at once"+libraryParallel)
	flags.Var(optionalCount{&c.requests}, "requests-per-host", "how many requests may be in flight at one registry, reading and writing apart")
	flags.Var(byteRate{&c.bytes}, "bytes-per-second", "how much may be read from, and written to, one registry in a second: `BYTES`, such as 500k, 20M or 1G")
	flags.Var(optionalCount{&c.retries}, "retry-times", "try images that failed up to `N` times more, when the others are done")
	flags.Var(&c.shard, "shard", "copy only part `I/N` of the file, I from 0: N machines with the same file copy everything once")
	flags.StringVar(&c.stateDir, "state-dir", "", "`DIR` with the locks that keep two runs from one destination (default: $XDG_STATE_HOME/mirror)")
	flags.BoolVar(&c.exitUnchanged, "exit-unchanged", false, "exit with status 3 if everything was there already")
}

// defaultJobs is what the library does when it is told nothing.
const defaultJobs = 32

func (c *syncCommand) check() error {
	if stray := changed(c.access.flags, systemFlags); len(stray) > 0 {
		return misusef("%s has no effect on a sync: the file names platforms", dashed(stray))
	}
	if c.dryRun && c.retries > 0 {
		return misusef("--retry-times has no effect on a --dry-run")
	}
	if c.stateDir != "" && !c.dryRun {
		if err := os.MkdirAll(c.stateDir, 0o700); err != nil {
			return misusef("--state-dir: %w", err)
		}
	}
	if err := c.files.check(); err != nil {
		return err
	}
	return c.removal.check(c.dryRun)
}

func (c *syncCommand) run(cmd *cobra.Command, args []string) error {
	for _, check := range []func() error{c.out.check, c.access.check, c.check} {
		if err := check(); err != nil {
			return err
		}
	}
	file, err := c.env.readSyncFile(args[0])
	if err != nil {
		return err
	}
	sys, err := c.access.systemContexts(c.env)
	if err != nil {
		return err
	}
	policy, err := c.access.policyContext(sys.source)
	if err != nil {
		return err
	}
	defer func() { _ = policy.Destroy() }()
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	limits := c.env.limits(&c.access)
	limits.MaxParallelDownloads, limits.MaxRequestsPerHost, limits.BytesPerSecondPerHost = c.parallel, c.requests, c.bytes
	copier := copy.NewCopier(limits)
	defer func() { _ = copier.Close() }() // closes connections that nobody uses any more
	s := &syncRun{
		syncCommand: c, file: file, copier: copier, sys: sys, policy: policy,
		report: syncReport{Schema: syncReportSchema, File: args[0], Shard: c.shard.String(), DryRun: c.dryRun, Started: c.env.now().UTC()},
	}
	err = orStopped(ctx, s.do(ctx))
	s.report.finish(err, c.env.now())
	if printErr := s.print(); err == nil {
		err = printErr
	}
	if err == nil {
		err = s.failure()
	}
	if err == nil && c.exitUnchanged && s.report.unchanged() {
		return errUnchanged
	}
	return err
}

// errUnchanged is how Run learns that there was nothing to do.
var errUnchanged = errors.New("nothing to do")

// A syncRun is one run.
type syncRun struct {
	*syncCommand
	file   *syncfile.File
	copier *copy.Copier // of everything that the run does at registries, all rounds
	sys    contexts
	policy *signature.PolicyContext

	todo     []syncfile.Copy
	signers  *syncfile.Signers
	progress *copy.Overview // may be nil
	report   syncReport     // its Images are those of todo, then those that failed before
}

func (s *syncRun) do(ctx context.Context) error {
	if err := s.expand(ctx); err != nil {
		return err
	}
	if s.dryRun {
		s.planAll(ctx)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return s.remove(ctx)
	}
	locks, err := lockAll(s.env, s.stateDir, s.repositories())
	if err != nil {
		return err
	}
	defer locks.release()
	s.signers, err = syncfile.OpenSigners(s.todo, s.env.people(s.sys.secrets), s.env.now())
	defer func() { _ = s.signers.Close() }()
	if err != nil {
		return err
	}
	s.copyAll(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := s.files.write(s); err != nil {
		return err
	}
	return s.remove(ctx)
}

// copyAll copies what is to be done, and then, some times more, what failed and might not fail
// again.
func (s *syncRun) copyAll(ctx context.Context) {
	s.progress = s.env.startProgress(&s.out, len(s.todo))
	defer s.progress.Close()
	pending := make([]int, len(s.todo))
	for i := range pending {
		pending[i] = i
	}
	for attempt := uint(0); len(pending) > 0 && attempt <= s.retries && ctx.Err() == nil; attempt++ {
		jobs := make([]copy.Job, len(pending))
		for n, i := range pending {
			jobs[n] = s.job(i)
		}
		done := 0
		results := s.copier.Images(ctx, s.policy, jobs, &copy.ImagesOptions{MaxJobs: s.jobs, Done: func(r copy.Result, report *copy.Report) {
			entry := &s.report.Images[pending[r.Job]]
			s.note(entry, s.todo[pending[r.Job]], r, report)
			if attempt == 0 {
				s.progress.ImageDone()
			}
			done++
			s.progress.Print(fmt.Sprintf("[%d/%d] %s %s", done, len(jobs), entry.Status, printable(entry.name())))
		}})
		var again []int
		for _, r := range results {
			i := pending[r.Job]
			if entry := &s.report.Images[i]; r.Err != nil && entry.Status == "" { // never begun
				entry.Status, entry.Error = imageFailed, s.env.explain(r.Err)
			}
			if s.report.Images[i].Status == imageFailed && mayPass(r.Err) {
				again = append(again, i)
			}
		}
		pending = again
	}
}

// job is how the library is asked for a copy.
func (s *syncRun) job(i int) copy.Job {
	c := s.todo[i]
	return copy.Job{Source: c.Source, Destination: c.Destination, Options: s.options(c)}
}

// options are those of an image's copies, which share a budget if the image has one of its own.
func (s *syncRun) options(c syncfile.Copy) *copy.Options {
	options := c.Image.Options
	options.SourceCtx, options.DestinationCtx = s.sys.source, c.Image.Context(s.sys.destination)
	options.SignIdentity = c.SignIdentity
	options.ReferrersFrom = reachedBy(c.ReferrersFrom, s.sys.referrers)
	options.ConcurrentBlobCopiesSemaphore = c.Image.Budget()
	options.Overview = s.progress
	return &options
}

// note fills in how a copy ended.
func (s *syncRun) note(entry *syncImage, c syncfile.Copy, r copy.Result, report *copy.Report) {
	entry.Attempts++
	entry.SourceDigest, entry.DestinationDigest = r.SourceDigest, r.DestinationDigest
	entry.Bytes += r.BytesCopied
	entry.Elapsed += report.Elapsed
	entry.Warnings, entry.Void, entry.Error = report.Warnings, report.Void, ""
	entry.Original, entry.Vouched = report.Original, report.Vouched
	entry.Kind, entry.Attached, entry.Transformed = kindOf(report.Plan, r.Err), attachedIn(report), transformedIn(report.Plan)
	entry.Missing = slices.DeleteFunc(slices.Clone(report.Instances), func(i copy.InstanceReport) bool { return !i.Missing })
	switch {
	case isOther(c.Image, r.Err):
		entry.Status, entry.Reason = imageSkipped, r.Err.Error()
	case r.Err != nil:
		entry.Status, entry.Error = imageFailed, s.env.explain(r.Err)
	case r.Written || copiedAnything(report):
		entry.Status, entry.Action, entry.ActionReason = imageCopied, r.Action.String(), report.ActionReason
		if warning := s.signers.Warning(c, s.env.now()); warning != "" {
			entry.Warnings = append(slices.Clone(entry.Warnings), warning)
		}
	default:
		entry.Status, entry.Action, entry.ActionReason = imagePresent, r.Action.String(), report.ActionReason
	}
}

// copiedAnything reports whether something was copied although the list or image was there.
func copiedAnything(report *copy.Report) bool {
	if report.BlobsCopied > 0 || report.ManifestsCopied > 0 || signatures(report) > 0 {
		return true
	}
	for _, a := range report.Attached {
		if a.Outcome == copy.Copied {
			return true
		}
	}
	return false
}

// isOther reports whether an image was left out because it is a single one, for a platform that
// nobody asked for.
func isOther(image *syncfile.Image, err error) bool {
	var no *copy.NoMatchError
	return image.Single == syncfile.SkipSingle && errors.As(err, &no) && no.Single
}

// mayPass reports whether a copy that failed with err may succeed when it is tried again.
func mayPass(err error) bool {
	var (
		options  *copy.OptionsError
		match    *copy.NoMatchError
		required *copy.RequiredError
		empty    *copy.EmptyError
		locked   *copy.CannotModifyError
		rejected *copy.RejectedError
		refused  *copy.SparseRefusedError
		blobs    *copy.BlobsRefusedError
		widen    *copy.WidenError
		alone    *copy.OriginalRefusedError
	)
	return !errors.As(err, &options) && !errors.As(err, &match) && !errors.As(err, &required) && !errors.As(err, &empty) &&
		!errors.As(err, &locked) && !errors.As(err, &rejected) && !errors.As(err, &refused) && !errors.As(err, &blobs) && !errors.As(err, &widen) &&
		!errors.As(err, &alone)
}

// planAll plans every copy.
func (s *syncRun) planAll(ctx context.Context) {
	jobs := make([]copy.Job, len(s.todo))
	for i := range jobs {
		jobs[i] = s.job(i)
		jobs[i].Options.CompareDestination = true
	}
	s.copier.PlanImages(ctx, s.policy, jobs, &copy.ImagesOptions{MaxJobs: s.jobs}, func(p copy.PlannedImage) {
		entry := &s.report.Images[p.Job]
		entry.Kind = kindOf(nil, p.Err)
		switch {
		case isOther(s.todo[p.Job].Image, p.Err):
			entry.Status, entry.Reason = imageSkipped, p.Err.Error()
		case p.Err != nil:
			entry.Status, entry.Error = imageFailed, s.env.explain(orStopped(ctx, p.Err))
		default:
			entry.planned(p.Plan, p.UpToDate)
		}
	})
}

// failure says in one line that some images failed, nil if none did.
func (s *syncRun) failure() error {
	for _, entry := range s.report.Images {
		if entry.Status == imageFailed {
			return fmt.Errorf("%d of %s failed; the first, %s: %s",
				s.report.Summary.Failed, counted(len(s.report.Images), "image"), entry.name(), entry.Error)
		}
	}
	if n := s.report.Summary.RemovalsFailed; n > 0 {
		return fmt.Errorf("%s could not be removed; the report says why", counted(n, "manifest"))
	}
	return nil
}
