// Package registrycmd is the command line of sparse-registry: what its programs, which differ in
// the storage that they can use, have in common.
//
// Every setting can be given as a flag, in the environment, and in a YAML file, in this order of
// precedence; see --help. It logs to standard error, one line a request and one line a refused
// manifest. On SIGHUP it reads the settings, and the files that they name, again. On SIGINT or
// SIGTERM it says for a while at /readyz that it stops, accepts no connections any more, answers
// the requests that it has, and exits with status 0; with status 1 if it had to cut some off, or
// could not run.
//
// Subcommands (subcommands.go) work on the storage of a server: check (check.go) looks whether it
// is complete and true, gc (gc.go) removes what is not needed any more.
package registrycmd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Main runs sparse-registry with the arguments and the environment of the process, and ends it.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Environ(), os.Stderr))
}

// execute runs a command line and returns the exit status. The environment is env.
// Logs go to stderr, and so does what a command failed for.
func execute(ctx context.Context, args []string, env environment, stderr io.Writer) int {
	root := command(env, stderr)
	root.SetArgs(append([]string{}, args...)) // cobra takes nil for the arguments of the process
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var form logForm // of subcommands, which have no log
	if cmd == root {
		o, _ := loadOptions(cmd, env) // what cannot be told is as by default
		form = o.log
	}
	form.fail(stderr, err)
	return statusOf(err)
}

// command is the command line. The environment is env, and it logs to log.
func command(env environment, log io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "sparse-registry --storage DIRECTORY",
		Short:         "A registry that accepts sparse lists under a policy",
		Long:          longHelp(),
		Args:          refuseArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildinfo.Read().Version, // which is what makes a flag of it
	}
	cmd.SetVersionTemplate(buildinfo.Read().Text("sparse-registry"))
	cmd.SetFlagErrorFunc(unknownFlag)
	cmd.CompletionOptions.DisableDefaultCmd = true
	defineFlags(cmd, settings)
	cmd.AddCommand(checkCommand(env), gcCommand(env))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return run(cmd.Context(), log, func() (options, error) { return loadOptions(cmd, env) })
	}
	return cmd
}

// run serves until ctx ends, and logs to w. It reads the settings with load, and again on SIGHUP.
func run(ctx context.Context, w io.Writer, load func() (options, error)) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // also while it starts
	defer signal.Stop(hangups)
	o, err := load()
	if err != nil {
		return err
	}
	log := o.log.start(w)
	o.server.Log = log
	server, err := sparseserver.Start(o.server)
	if err != nil {
		return err
	}
	policy := o.server.Policies.Default
	log.Info("listening", "url", server.URL(), "storage", o.server.Storage, "metrics", server.MetricsAddress(),
		"sparse_lists", policy.Enabled, "required_architectures", policy.RequiredArchitectures,
		"required_platforms", policy.RequiredPlatforms, "optional_without_platform", policy.OptionalWithoutPlatform,
		"patterns", len(o.server.Policies.Rules))
	for _, warning := range o.warnings() {
		log.Warn(warning)
	}
	warnOfPolicies(log, o)
	r := &reloader{server: server, log: log, load: load, started: o, current: o}
	if err := r.until(ctx, hangups); err != nil {
		return errors.Join(err, server.Close())
	}
	return stop(context.WithoutCancel(ctx), clock.System, server, log, r.current)
}

// stop lets everybody learn that the server stops, and then the server answer what it has begun to.
func stop(ctx context.Context, time clock.Clock, server *sparseserver.Server, log *slog.Logger, o options) error {
	server.Drain()
	log.Info("stopping: answering everything, until nobody is sent here any more", "for", o.drainDelay)
	if err := clock.Sleep(ctx, time, o.drainDelay); err != nil {
		return err
	}
	log.Info("stopping: answering the requests that are under way", "at_most", o.drainTimeout)
	ctx, cancel := context.WithTimeout(ctx, o.drainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// warnOfPolicies says which policies require what they have to require anyway.
func warnOfPolicies(log *slog.Logger, o options) {
	const warning = "required architectures and platforms mean nothing while sparse lists are off: every child must exist"
	moot := func(p manifest.SparsePolicy) bool {
		return !p.Enabled && len(p.RequiredArchitectures)+len(p.RequiredPlatforms) > 0
	}
	if moot(o.server.Policies.Default) {
		log.Warn(warning)
	}
	for _, rule := range o.server.Policies.Rules {
		if moot(rule.Policy) {
			log.Warn(warning, "rule", rule.Pattern)
		}
	}
}
