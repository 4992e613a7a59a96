package mirrorcmd

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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

	runner        runnerFlags
	jobs          uint
	retries       uint
	dryRun        bool
	exitUnchanged bool
	files         syncOutputs
	removal       removalFlags
	from          fromFlags
}

func (c *syncCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "sync [flags] FILE",
		Short: "Copy all images that a file names",
		Long: "Sync makes destinations have what a YAML file says, and prints a summary. What is there already is not copied again. One\n" +
			"image that fails does not stop the others. FILE \"-\" is standard input.\n\n" +
			"Exit status: 0 if everything is there, 1 if something failed, 2 if the command line or the file is wrong, 3, with\n" +
			"--exit-unchanged, if there was nothing to do, 4 if a mirror has lost something that its source does not have any more,\n" +
			"and 5 if nothing failed, and the rest has to wait for the rate limit of a source.\n\n",
		Example: "  mirror sync --dry-run images.yaml\n" +
			"  mirror sync --state /var/lib/mirror/state images.yaml\n" +
			"  mirror sync --shard \"$JOB_COMPLETION_INDEX/8\" --output json images.yaml",
		Args: takes(1, "one FILE"),
		RunE: c.run,
	}
}

func (c *syncCommand) finish(cmd *cobra.Command) {
	cmd.Long += syncfile.TopHelp + "\n\n" + syncfile.Help() + "\ndocs/sync.md explains them."
	flags := cmd.Flags()
	c.define(flags)
	c.removal.define(flags)
	c.from.define(flags)
	c.files.define(flags)
	c.out.define(flags, "the report")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	c.access.define(flags)
	c.access.uploads.define(flags)
	hideSystemFlags(flags)
}

func (c *syncCommand) define(flags *pflag.FlagSet) {
	c.jobs = defaultJobs
	flags.BoolVar(&c.dryRun, "dry-run", false, "say what would be done, and write nothing")
	flags.Var(count{&c.jobs}, "jobs", "how many images are copied at the same time")
	flags.Var(optionalCount{&c.retries}, "retry-times", "try images that failed up to `N` times more, when the others are done")
	c.runner.define(flags)
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
	if err := c.runner.check(!c.dryRun); err != nil {
		return err
	}
	if err := c.files.check(); err != nil {
		return err
	}
	return c.removal.check(c.dryRun)
}

func (c *syncCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkAll(c.out.check, c.access.check, c.from.check, c.check); err != nil {
		return err
	}
	file, err := c.env.readSyncFile(args[0], &c.from)
	if err != nil {
		return err
	}
	r, err := openRunner(c.env, &c.access, c.runner, args[0], file)
	if err != nil {
		return err
	}
	defer r.close()
	var warnings []string
	if !c.dryRun {
		memory, warning, err := c.runner.memory.open(c.env, args[0])
		if err != nil {
			return err
		}
		defer memory.close()
		if r.memory = memory; warning != "" {
			warnings = append(warnings, warning)
		}
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	s := &syncRun{command: c, runner: r, report: syncReport{
		Schema: syncReportSchema, File: args[0], Shard: c.runner.shard.String(), DryRun: c.dryRun, Started: c.env.now().UTC(), Warnings: warnings,
	}}
	if r.memory != nil {
		s.report.State = c.runner.memory.file
	}
	err = orStopped(ctx, s.do(ctx))
	s.report.RateLimits = rateLimits(r.copier.RateLimits())
	s.report.finish(err, c.env.now())
	if printErr := s.print(); err == nil {
		err = printErr
	}
	if err == nil {
		err = s.report.failure()
	}
	if err == nil && c.exitUnchanged && s.report.unchanged() {
		return errUnchanged
	}
	return err
}

// errUnchanged is how Run learns that there was nothing to do.
var errUnchanged = errors.New("nothing to do")
