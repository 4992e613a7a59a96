package mirrorcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/copy"
)

// output are the flags that say what is printed, and how long the command may take.
type output struct {
	json    bool
	quiet   bool
	debug   bool
	logJSON bool
	timeout time.Duration
}

func (o *output) define(flags *pflag.FlagSet, what string) {
	o.defineForm(flags, what)
	o.defineLog(flags)
}

// defineForm defines the flag of a command that prints something in two forms.
func (o *output) defineForm(flags *pflag.FlagSet, what string) {
	flags.Var(newChoice(&o.json, []string{"text", "json"}, []bool{false, true}), "output", "how to print "+what)
}

// defineLog defines the flags that do not say what is printed to standard output.
func (o *output) defineLog(flags *pflag.FlagSet) {
	flags.BoolVar(&o.debug, "debug", false, "log what is done to standard error")
	flags.Var(newChoice(&o.logJSON, []string{"text", "json"}, []bool{false, true}), "log-format", "how to write logs, progress and errors to standard error: for people, or an object in each line")
	flags.DurationVar(&o.timeout, "command-timeout", 0, "give up after `DURATION`, such as 90s or 10m (default: never)")
}

func (o *output) check() error {
	if o.logJSON { // first, so that what follows is said in that form
		logrus.SetFormatter(&logrus.JSONFormatter{})
	}
	switch {
	case o.quiet && o.json:
		return misusef("--quiet and --output json exclude each other")
	case o.timeout < 0:
		return misusef("--command-timeout is negative")
	}
	return nil
}

// apply sets the level of the log, and returns the context that the flags allow.
func (o *output) apply(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.debug {
		logrus.SetLevel(logrus.DebugLevel)
	} else if o.quiet {
		logrus.SetLevel(logrus.ErrorLevel)
	}
	if o.logJSON && !o.quiet {
		logrus.SetLevel(max(logrus.GetLevel(), logrus.InfoLevel)) // progress is logged as information
	}
	if o.timeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the time of --command-timeout (%s) is over", o.timeout))
}

// A copyCommand is mirror copy.
type copyCommand struct {
	env        *environment
	sel        selection
	access     access
	out        output
	digestFile string
	yes        bool
}

func (c *copyCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "copy [flags] SOURCE DESTINATION",
		Short: "Copy an image, all of its platforms or some",
		Long: "Copy copies an image from SOURCE to DESTINATION and prints what it did. Until everything else is there,\n" +
			"DESTINATION names what it named before; after a failure it still does.",
		Example: "  mirror copy --platform linux/amd64,linux/arm64 --sparse strip \\\n" +
			"    docker://docker.io/library/alpine:3 docker://registry.example/alpine:3",
		Args: takes(2, "SOURCE and DESTINATION"),
		RunE: c.run,
	}
}

func (c *copyCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.sel.define(flags)
	c.out.define(flags, "the report")
	flags.BoolVarP(&c.out.quiet, "quiet", "q", false, "print nothing but errors")
	flags.BoolVar(&c.yes, "yes", false, "replace a list at DESTINATION by one image without a question or warning")
	flags.StringVar(&c.digestFile, "digestfile", "", "write the digest that DESTINATION names to `FILE`")
	c.access.layouts.define(flags)
	c.access.define(flags)
	c.access.uploads.define(flags)
}

func (c *copyCommand) run(cmd *cobra.Command, args []string) error {
	if err := checkOutputFile("digestfile", c.digestFile); err != nil {
		return err
	}
	ends, err := c.env.prepare(args, &c.sel, &c.access, &c.out)
	if err != nil {
		return err
	}
	defer ends.close()
	if err := c.checkEffect(ends); err != nil {
		return err
	}
	ctx, cancel := c.out.apply(cmd.Context())
	defer cancel()
	if err := ends.unlock(); err != nil {
		return err
	}

	report, err := c.copy(ctx, ends, c.guard(ends))
	if replaced, ok := errors.AsType[*replacedList](err); ok {
		if err = c.env.confirm(ctx, replaced); err == nil {
			report, err = c.copy(ctx, ends, nil)
		}
	}
	err = orStopped(ctx, err)
	if printErr := c.print(report, err == nil); err == nil {
		err = printErr
	}
	if err == nil && c.digestFile != "" {
		if err = os.WriteFile(c.digestFile, []byte(report.DestinationDigest), 0o644); err != nil {
			err = fmt.Errorf("the copy is complete, but not its digest file: %w", err)
		}
	}
	return err
}

// copy makes the copy. guard may be nil.
func (c *copyCommand) copy(ctx context.Context, ends *ends, guard *guard) (*copy.Report, error) {
	var report copy.Report
	options := ends.options
	options.Report = &report
	if guard != nil {
		options.Replacing = guard.replacing
	}
	progress := c.env.startProgress(&c.out, 1)
	defer progress.Close()
	options.Overview = progress
	_, err := ends.copier.Image(ctx, ends.policy, ends.destination, ends.source, &options)
	progress.ImageDone()
	return &report, err
}

// print prints the report: as a table if the copy succeeded, as JSON in any case.
func (c *copyCommand) print(report *copy.Report, succeeded bool) error {
	switch {
	case c.out.json:
		return printJSON(c.env.stdout, report)
	case c.out.quiet || !succeeded:
		return nil
	}
	_, err := io.WriteString(c.env.stdout, c.env.told(reportText(report)))
	return err
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
