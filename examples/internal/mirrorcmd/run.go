package mirrorcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/onelog"
)

// The exit statuses.
const (
	StatusDone    = 0 // everything that was asked for is done
	StatusFailed  = 1 // it could not be done; the reason is on stderr
	StatusMisused = 2 // the command line is wrong, and nothing was tried
	StatusDamaged = 4 // a mirror has lost something that its source does not have any more
	// StatusPostponed says that nothing is wrong but that the rate limit of a source is used up.
	StatusPostponed = 5
)

// Run runs the command with the arguments that follow its name, and returns the exit status. If
// that is StatusFailed or StatusMisused, one line on stderr, which begins with "mirror: ", says
// why; logs and progress may stand before it. With --log-format json, each line is an object. When
// ctx ends, the command stops and fails with the cause. mirror diff has the statuses of diff(1):
// StatusDifferent says nothing on stderr.
//
// Passwords that the command line leaves out are read from stdin. Run sets the output and the level
// of logrus' standard logger while it runs, so it must not run twice at the same time.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if _, ok := stderr.(*os.File); !ok { // files take care of themselves
		stderr = &lockedWriter{w: stderr}
	}
	e := &environment{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, getenv: os.Getenv}
	return e.run(args)
}

// run is Run in an environment.
func (e *environment) run(args []string) int {
	restore := e.startLog()
	defer restore()
	e.typed = args
	all := newCommands(e)
	all.finishCalled(args)
	all.root.SetArgs(append([]string{}, args...)) // cobra takes nil for the arguments of the process
	err := orStopped(e.ctx, all.root.ExecuteContext(e.ctx))
	switch {
	case err == nil:
		return StatusDone
	case errors.Is(err, errUnchanged):
		return StatusUnchanged
	case errors.Is(err, errDifferent):
		return StatusDifferent
	}
	e.complain(oneLine(e.explain(err)))
	if isMisuse(err) {
		return StatusMisused
	}
	if ended, ok := errors.AsType[*statusError](err); ok {
		return ended.status
	}
	return StatusFailed
}

// A statusError is a failure with an exit status.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// An environment is what a run has of the world.
type environment struct {
	ctx            context.Context // of the run
	typed          []string        // the arguments of the run
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	clock          copy.Clock // nil for the machine's

	// sel are the selection flags of the command that ran, nil before: errors are explained by
	// them.
	sel *selection
	// byFile is set if a sync file says what is copied: then they are explained by its keys.
	byFile bool
	// loads is set if a bundle is loaded: all of it, as it was made.
	loads bool
}

// now is the time by the clock of the run.
func (e *environment) now() time.Time { return e.time().Now() }

// time is the clock of the run.
func (e *environment) time() copy.Clock { return cmp.Or(e.clock, copy.SystemClock) }

// A lockedWriter may be written to concurrently: logs, progress and complaints come from different
// goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// startLog sends the logs of the library and of containers/image to stderr, until restore is
// called.
func (e *environment) startLog() (restore func()) {
	logger := logrus.StandardLogger()
	out, level, formatter := logger.Out, logger.GetLevel(), logger.Formatter
	logger.SetOutput(e.stderr)
	logger.SetLevel(logrus.WarnLevel)
	logger.SetFormatter(&logrus.TextFormatter{})
	return func() {
		logger.SetOutput(out)
		logger.SetLevel(level)
		logger.SetFormatter(formatter)
	}
}

// complain says why the command failed, in a line, or as an entry of a log in JSON.
func (e *environment) complain(text string) {
	if logsEntries() {
		logrus.Error(text)
		return
	}
	fmt.Fprintf(e.stderr, "mirror: %s\n", text)
}

// note says something to people that is no fault and no result: in a line, or as an entry of a log
// in JSON.
func (e *environment) note(text string) {
	if logsEntries() {
		logrus.Info(text)
		return
	}
	fmt.Fprintln(e.stderr, text)
}

// logsEntries reports whether all that goes to stderr are entries of a log.
func logsEntries() bool {
	switch logrus.StandardLogger().Formatter.(type) {
	case *logrus.JSONFormatter, onelog.Formatter:
		return true
	}
	return false
}

// newCommands returns mirror and its commands, none of them finished.
func newCommands(e *environment) *commands {
	root := &cobra.Command{
		Use:   "mirror",
		Short: "Mirror multi-platform container images",
		Long: "Mirror copies multi-platform container images, all of their platforms or some, and leaves behind a list\n" +
			"that the destination accepts.\n\n" +
			"SOURCE and DESTINATION are references of containers/image, as Skopeo has them:\n" +
			"docker://registry.example/repository:tag, oci:directory:tag, oci-archive:file:tag, dir:directory,\n" +
			"and bundle:path:name for an image of a bundle. Without a transport, it is a registry's:\n" +
			"registry.example/repository:tag; what is read may be a short name of registries.conf, and have tag and digest,\n" +
			"of which the digest counts.",
		Args:              func(cmd *cobra.Command, args []string) error { return noCommand(cmd, args, e.typed) },
		RunE:              func(*cobra.Command, []string) error { return nil }, // Args lets nothing through
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		// Flags of a command that is unknown are not to blame.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
	}
	root.SetUsageFunc(printUsage)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(unknownFlag)
	all := &commands{root: root, unfinished: map[*cobra.Command]command{}}
	all.add(root, &copyCommand{env: e}, &planCommand{env: e}, &inspectCommand{env: e}, &digestCommand{env: e},
		&manifestCommand{env: e}, &tagsCommand{env: e}, &tagCommand{env: e}, &deleteCommand{env: e}, &verifyCommand{env: e},
		&syncCommand{env: e}, &serveCommand{env: e}, &reportCommand{env: e}, &importCommand{env: e}, &exportCommand{env: e},
		&diffCommand{env: e}, &loginCommand{env: e}, &logoutCommand{env: e}, &versionCommand{env: e})
	bundle := newBundle()
	all.add(bundle, &bundleCreateCommand{env: e}, &bundleListCommand{env: e}, &bundleLoadCommand{env: e})
	root.AddCommand(bundle, newCompletion(e))
	for _, cmd := range root.Commands() {
		if cmd.Args != nil {
			cmd.Args = habitual(cmd.Args)
		}
	}
	return all
}
