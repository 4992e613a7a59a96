// Package registrycmd is the command line of sparse-registry: what its programs, which differ in
// the storage that they can use, have in common.
//
// Every setting can be given as a flag, in the environment, and in a YAML file, in this order of
// precedence; see --help. It logs to standard error, one line a request and one line a refused
// manifest. On SIGINT or SIGTERM it stops to accept connections, answers the requests that it has,
// and exits with status 0; with status 1 if it had to cut some off, or could not run.
package registrycmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
)

// Main runs sparse-registry with the arguments and the environment of the process, and ends it.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.SetFormatter(ownFaults{&logrus.TextFormatter{}})
	if err := command(os.LookupEnv, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sparse-registry:", err)
		os.Exit(1)
	}
}

// command is the command line. It reads the environment through lookup and logs to log.
func command(lookup func(string) (string, bool), log io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:           "sparse-registry --storage DIRECTORY",
		Short:         "A registry that accepts sparse lists under a policy",
		Long:          longHelp(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       buildinfo.Read().Version, // which is what makes a flag of it
	}
	cmd.SetVersionTemplate(buildinfo.Read().Text("sparse-registry"))
	defineFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		options, err := loadOptions(cmd, lookup)
		if err != nil {
			return err
		}
		options.server.Log = slog.New(slog.NewTextHandler(log, nil))
		return run(cmd.Context(), options)
	}
	return cmd
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	server, err := sparseserver.Start(o.server)
	if err != nil {
		return err
	}
	log, policy := o.server.Log, o.server.Policies.Default
	log.Info("listening", "url", server.URL(), "storage", o.server.Storage, "metrics", server.MetricsAddress(),
		"sparse_lists", policy.Enabled, "required_architectures", policy.RequiredArchitectures,
		"optional_without_platform", policy.OptionalWithoutPlatform)
	if !policy.Enabled && len(policy.RequiredArchitectures) > 0 {
		log.Warn("required architectures mean nothing while sparse lists are off: every child must exist")
	}
	select {
	case <-server.Done():
		_ = server.Close() // it has failed already
		return server.Err()
	case <-ctx.Done():
	}
	log.Info("stopping: answering the requests that are under way", "at_most", o.drainTimeout)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// ownFaults leaves out of distribution's log what clients did wrong: every request is in ours.
type ownFaults struct{ logrus.Formatter }

func (f ownFaults) Format(e *logrus.Entry) ([]byte, error) {
	if status, ok := e.Data["http.response.status"].(int); ok && status < http.StatusInternalServerError {
		return nil, nil
	}
	return f.Formatter.Format(e)
}
