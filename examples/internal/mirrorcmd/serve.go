package mirrorcmd

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorserver"
	"github.com/sparsecopy/sparsecopy/examples/internal/schedule"
	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// A serveCommand is mirror serve.
type serveCommand struct {
	env    *environment
	access access
	runner runnerFlags
	from   fromFlags

	jobs        uint
	every       time.Duration
	stopTimeout time.Duration

	listen           string
	certificate, key string // files
	insecure         bool
	tokenFile        string
	perImage         bool

	debug, logJSON bool
}

func (c *serveCommand) command() *cobra.Command {
	return &cobra.Command{
		Use:   "serve --state FILE [flags] FILE",
		Short: "Keep all images that a file names up to date, for ever",
		Long: "Serve looks at each image of a YAML file when that is due, or when a registry tells that it was pushed, copies what has\n" +
			"changed, and heals what was lost. mirror sync --help lists the keys of the file. Over HTTP, it shows a page (/), metrics\n" +
			"(/metrics), and whether it is well (/healthz, /readyz). It reads the file again when that changes, and on SIGHUP.\n\n" +
			"On SIGTERM it lets copies end for --stop-timeout, and exits with status 0; with 1 if it could not run, and with 2 if the\n" +
			"command line or the file is wrong.",
		Example: "  mirror serve --state /var/lib/mirror/state images.yaml\n" +
			"  mirror serve --state /var/lib/mirror/state --listen :9450 --tls-cert tls.crt --tls-key tls.key --token-file token images.yaml",
		Args: takes(1, "one FILE"),
		RunE: c.run,
	}
}

func (c *serveCommand) finish(cmd *cobra.Command) {
	flags := cmd.Flags()
	c.define(flags)
	c.runner.define(flags)
	c.from.define(flags)
	flags.BoolVar(&c.debug, "debug", false, "log what is done to standard error")
	flags.Var(newChoice(&c.logJSON, []string{"text", "json"}, []bool{false, true}), "log-format", "how to write logs and errors to standard error")
	c.access.define(flags)
	c.access.uploads.define(flags)
	hideSystemFlags(flags)
}

// defaultListen is the address of a server, and defaultEvery the schedule of images that have none.
const (
	defaultListen      = "127.0.0.1:9450"
	defaultEvery       = time.Hour
	defaultStopTimeout = 30 * time.Second
)

func (c *serveCommand) define(flags *pflag.FlagSet) {
	c.jobs = defaultJobs
	flags.StringVar(&c.listen, "listen", defaultListen, "where to answer over HTTP: `HOST:PORT`")
	flags.StringVar(&c.certificate, "tls-cert", "", "PEM `FILE` with the certificate of the server, which speaks TLS then")
	flags.StringVar(&c.key, "tls-key", "", "PEM `FILE` with the key of the certificate")
	flags.BoolVar(&c.insecure, "insecure-listen", false, "let other machines reach the server without TLS")
	flags.StringVar(&c.tokenFile, "token-file", "", "`FILE` with a token that / and /metrics want to be shown, as a bearer token or a password")
	flags.DurationVar(&c.every, "every", defaultEvery, "how often to look at images for which the file says nothing: `DURATION`")
	flags.DurationVar(&c.stopTimeout, "stop-timeout", defaultStopTimeout, "how long copies may take to end on SIGTERM: `DURATION`")
	flags.BoolVar(&c.perImage, "metrics-per-image", true, "have a metric for each image")
	flags.Var(count{&c.jobs}, "jobs", "how many images are copied at the same time")
}

// check refuses what cannot work. usual is the schedule of images that have none.
func (c *serveCommand) check(file string) (usual schedule.Schedule, err error) {
	switch stray := changed(c.access.flags, systemFlags); {
	case len(stray) > 0:
		return usual, misusef("%s has no effect on a server: the file names platforms", dashed(stray))
	case file == "-":
		return usual, misusef("a server reads its file again when that changes, which standard input cannot be")
	case c.runner.memory.file == "":
		return usual, misusef("a server needs --state FILE, to remember what destinations have")
	case (c.certificate == "") != (c.key == ""):
		return usual, misusef("--tls-cert and --tls-key need each other")
	case c.certificate != "" && c.insecure:
		return usual, misusef("--insecure-listen has no effect on a server that speaks TLS")
	case c.stopTimeout < 0:
		return usual, misusef("--stop-timeout is %s: write a duration from zero, such as 30s", c.stopTimeout)
	}
	if _, _, err := net.SplitHostPort(c.listen); err != nil {
		return usual, misusef("--listen: %w; write HOST:PORT, such as %s", err, defaultListen)
	}
	if usual, err = schedule.Every(c.every); err != nil {
		return usual, misusef("--every: %w", err)
	}
	if err := checkAll(c.access.check, c.from.check); err != nil {
		return usual, err
	}
	return usual, c.runner.check(true)
}

func (c *serveCommand) run(cmd *cobra.Command, args []string) error {
	ctx := cmd.Context()
	log := c.startLog()
	usual, err := c.check(args[0])
	if err != nil {
		return err
	}
	extendGrace(ctx, c.stopTimeout)
	memory, err := c.openMemory(log, args[0])
	if err != nil {
		return err
	}
	defer memory.close()
	s := &serving{
		command: c, fileName: args[0], usual: usual, log: log, memory: memory,
		locks:      &serveLocks{env: c.env, dir: c.runner.stateDir},
		supervisor: mirrorserver.NewSupervisor(c.env.getenv),
	}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.serve(ctx)
}

// openMemory opens the state, without which nothing is served.
func (c *serveCommand) openMemory(log *slog.Logger, file string) (*memory, error) {
	memory, warning, err := c.runner.memory.open(c.env, file)
	switch {
	case err != nil:
		return nil, err
	case memory == nil:
		return nil, fmt.Errorf("--state %s: %w, and a server wants it for itself", c.runner.memory.file, state.ErrLocked)
	case warning != "":
		log.Warn(warning)
	}
	return memory, nil
}
