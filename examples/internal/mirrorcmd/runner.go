package mirrorcmd

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// runnerFlags are the flags of commands that make destinations have what a file says.
type runnerFlags struct {
	parallel, requests uint
	bytes              uint64
	shard              shard
	stateDir           string
	memory             memoryFlags
}

func (f *runnerFlags) define(flags *pflag.FlagSet) {
	flags.Var(count{&f.parallel}, "parallel", "how many blobs and manifests of all images may be in flight at once"+libraryParallel)
	flags.Var(optionalCount{&f.requests}, "requests-per-host", "how many requests may be in flight at one registry, reading and writing apart")
	flags.Var(byteCount{&f.bytes}, "bytes-per-second", "how much may be read from, and written to, one registry in a second: `BYTES`, such as 500k, 20M or 1G")
	flags.Var(&f.shard, "shard", "copy only part `I/N` of the file, I from 0: N machines with the same file copy everything once")
	flags.StringVar(&f.stateDir, "state-dir", "", "`DIR` with the locks that keep two runs from one destination (default: $XDG_STATE_HOME/mirror)")
	f.memory.define(flags)
}

// check refuses what cannot work, and makes the directory for locks if something is to be written.
func (f *runnerFlags) check(writes bool) error {
	if f.stateDir != "" && writes {
		if err := os.MkdirAll(f.stateDir, 0o700); err != nil {
			return misusef("--state-dir: %w", err)
		}
	}
	return f.memory.check()
}

// A runner makes destinations have what a file says. Its methods are safe for concurrent use, once
// openSigners has returned.
type runner struct {
	env      *environment
	flags    runnerFlags
	fileName string
	file     *syncfile.File
	copier   *copy.Copier // of everything that is done at registries
	sys      contexts
	policy   *signature.PolicyContext
	keys     keys
	signers  *syncfile.Signers
	overview *copy.Overview // may be nil
	memory   *memory        // nil if nothing is remembered
}

// openRunner reads what access says, which was checked, and puts what the file says of registries
// in force. The caller must close the runner.
func openRunner(env *environment, access *access, flags runnerFlags, name string, file *syncfile.File) (*runner, error) {
	sys, err := access.systemContexts(env)
	if err != nil {
		return nil, err
	}
	access.registries.use(file)
	limits := env.limits(access)
	limits.MaxParallelDownloads, limits.MaxRequestsPerHost, limits.BytesPerSecondPerHost = flags.parallel, flags.requests, flags.bytes
	without := &runner{env: env, flags: flags, fileName: name, copier: copy.NewCopier(limits), sys: sys}
	r, err := without.reread(access, file)
	if err != nil {
		_ = without.copier.Close()
	}
	return r, err
}

// reread returns a runner of another file, with what is at registries and the passwords of r, and
// with the signature policy and keys as they are now. Both runners may be used then, the copier of
// both is closed once, and each is released.
func (r *runner) reread(access *access, file *syncfile.File) (*runner, error) {
	policy, err := access.signaturePolicy(r.sys.source)
	if err != nil {
		return nil, err
	}
	common, err := commonKey(policy, access)
	if err != nil {
		return nil, err
	}
	policyContext, err := signature.NewPolicyContext(policy)
	if err != nil {
		return nil, err
	}
	return &runner{
		env: r.env, flags: r.flags, fileName: r.fileName, file: file, copier: r.copier, sys: r.sys, policy: policyContext,
		keys: keys{common: common}, memory: r.memory,
	}, nil
}

// close closes what the runner has opened. The memory is its caller's.
func (r *runner) close() {
	_ = r.copier.Close() // closes connections that nobody uses any more
	r.release()
}

// release closes what the runner does not share with others.
func (r *runner) release() {
	if r.signers != nil {
		_ = r.signers.Close()
	}
	if err := r.policy.Destroy(); err != nil {
		logrus.Debugf("signature policy: %v", err)
	}
}

// openSigners opens what signs copies. It must be called before the first of them is made.
func (r *runner) openSigners(copies []syncfile.Copy) (err error) {
	r.signers, err = syncfile.OpenSigners(copies, r.env.people(r.sys.secrets), r.env.now())
	return err
}

// images are those of the file that may be in this shard.
func (r *runner) images() []*syncfile.Image {
	return slices.DeleteFunc(slices.Clone(r.file.Images), func(image *syncfile.Image) bool {
		key, same := image.Repository()
		return same && !r.flags.shard.has(key)
	})
}

// newEntry is a copy in a report, before it is made.
func newEntry(c syncfile.Copy) syncImage {
	return syncImage{Line: c.Image.Line, Source: transports.ImageName(c.Source), Destination: transports.ImageName(c.Destination)}
}

// A task is a copy that is being made.
type task struct {
	syncfile.Copy
	entry    *syncImage // says how it ended
	recalled recalled
}

// copy makes a copy, unless it is postponed, and returns how it ended, which entry says too.
// openSigners must have been called for it.
//
// What is known of the copy, and its options, are there only as long as it is made: very many may
// wait.
func (r *runner) copy(ctx context.Context, c syncfile.Copy, entry *syncImage) copy.Result {
	t := &task{Copy: c, entry: entry, recalled: r.recall(c.Image, entry)}
	if r.postponed(t) {
		return copy.Result{}
	}
	job := copy.Job{Source: c.Source, Destination: c.Destination, Options: r.taskOptions(t)}
	done := func(result copy.Result, report *copy.Report) {
		r.note(t, result, report)
		if r.memory != nil && ctx.Err() == nil { // copies that were stopped have not failed
			r.memory.note(t, result.Err, report)
		}
	}
	result := r.copier.Images(ctx, r.policy, []copy.Job{job}, &copy.ImagesOptions{MaxJobs: 1, Done: done})[0]
	if result.Err != nil && entry.Status == "" {
		r.unbegun(entry, result.Err)
	}
	return result
}

// unbegun fills in why a copy was never begun.
func (r *runner) unbegun(entry *syncImage, err error) {
	entry.Status, entry.Error = imageFailed, r.env.explain(err)
}

// recall returns what is known of a copy.
func (r *runner) recall(image *syncfile.Image, entry *syncImage) recalled {
	if r.memory == nil {
		return recalled{}
	}
	check := image.Check
	if r.flags.memory.checkBlobs {
		check = syncfile.CheckBlobs
	}
	return r.memory.recall(entry.Destination, entry.Source, r.keys.of(image), check)
}

// postponed reports whether a task is not to be begun yet, because the rate limit of its source was
// used up when it was tried last. Then its entry says so. If that is still to come, the clock has
// gone back, and nobody knows how long to wait.
func (r *runner) postponed(t *task) bool {
	known, now := &t.recalled.known, r.env.now()
	if known.Status != state.Postponed || !now.Before(known.PostponedUntil) || now.Before(known.Tried) {
		return false
	}
	t.entry.Status, t.entry.PostponedUntil, t.entry.Error = imagePostponed, known.PostponedUntil, known.Error
	return true
}

// taskOptions are those of a task's copy.
func (r *runner) taskOptions(t *task) *copy.Options {
	options := r.options(t.Copy)
	switch {
	case r.memory != nil:
		t.recalled.apply(options)
	case r.flags.memory.checkBlobs, t.Image.Check == syncfile.CheckBlobs:
		options.CheckBlobs = true // it is always due
	}
	return options
}

// options are those of an image's copies, which share a budget if the image has one of its own.
func (r *runner) options(c syncfile.Copy) *copy.Options {
	options := c.Image.Options
	options.SourceCtx, options.DestinationCtx = c.Image.SourceContext(r.sys.source), c.Image.Context(r.sys.destination)
	options.SignIdentity = c.SignIdentity
	options.ReferrersFrom = reachedBy(c.ReferrersFrom, r.sys.referrers)
	options.ConcurrentBlobCopiesSemaphore = c.Image.Budget()
	options.Overview = r.overview
	return &options
}

// note fills in how a copy ended.
func (r *runner) note(t *task, result copy.Result, report *copy.Report) {
	entry := t.entry
	entry.Attempts++
	entry.SourceDigest, entry.DestinationDigest = result.SourceDigest, result.DestinationDigest
	entry.Bytes += result.BytesCopied
	entry.Elapsed += report.Elapsed
	for _, end := range []*copy.EndReport{&report.Source, &report.Destination, report.ReferrersSource} {
		if end != nil {
			entry.Requests, entry.Retries = entry.Requests+end.Requests, entry.Retries+end.Retries
		}
	}
	entry.VerifiedAt = report.VerifiedAt
	entry.Warnings, entry.Void, entry.Error = report.Warnings, report.Void, ""
	entry.Original, entry.Vouched = report.Original, report.Vouched
	entry.Kind, entry.Attached, entry.Transformed = kindOf(report.Plan, result.Err), attachedIn(report), transformedIn(report.Plan)
	entry.Missing = missingOf(report)
	entry.Status = statusOf(t.Image, result, report)
	switch entry.Status {
	case imageSkipped:
		entry.Reason = result.Err.Error()
	case imageCopied, imagePresent:
		entry.Action, entry.ActionReason = result.Action.String(), report.ActionReason
	default:
		entry.Error = r.env.explain(result.Err)
	}
	if report.Checked == copy.CheckedEarlier { // which has no plan: the rest is as it was
		known := &t.recalled.known
		entry.Kind, entry.Action, entry.Warnings = known.Kind, known.Action, known.Warnings
	}
	if held, ok := errors.AsType[*copy.RateLimitError](result.Err); ok {
		entry.PostponedUntil = held.Until.UTC()
	}
	if warning := r.signers.Warning(t.Copy, r.env.now()); entry.Status == imageCopied && warning != "" {
		entry.Warnings = append(slices.Clone(entry.Warnings), warning)
	}
}

// statusOf is how a copy ended.
func statusOf(image *syncfile.Image, result copy.Result, report *copy.Report) imageStatus {
	switch {
	case isOther(image, result.Err):
		return imageSkipped
	case isPostponed(result.Err):
		return imagePostponed
	case isDamaged(result.Err):
		return imageDamaged
	case result.Err != nil:
		return imageFailed
	case result.Written || copiedAnything(report):
		return imageCopied
	}
	return imagePresent
}

// missingOf are the instances that were left out because they are missing. They keep nothing of the
// others.
func missingOf(report *copy.Report) (missing []copy.InstanceReport) {
	for _, i := range report.Instances {
		if i.Missing {
			missing = append(missing, i)
		}
	}
	return missing
}
