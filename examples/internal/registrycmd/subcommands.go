package registrycmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// The exit statuses, which are those of mirror.
const (
	statusFailed  = 1 // it could not be done, or something is not as it should be
	statusMisused = 2 // the command line is wrong, or a setting, and nothing was tried
	statusDamaged = 4 // something is lost that only a push brings back
)

// A statusError is an error with an exit status.
type statusError struct {
	status int
	error
}

func (e *statusError) Unwrap() error { return e.error }

// statusOf is the exit status that goes with an error.
func statusOf(err error) int {
	if with, ok := errors.AsType[*statusError](err); ok {
		return with.status
	}
	return statusFailed
}

// misuse says that an error is about the command line or a setting.
func misuse(err error) error {
	if err == nil {
		return nil
	}
	return &statusError{statusMisused, err}
}

// refuseMisuse lets a subcommand, which takes no arguments, refuse what it does not understand.
func refuseMisuse(cmd *cobra.Command) {
	cmd.Args = func(cmd *cobra.Command, args []string) error { return misuse(refuseArguments(cmd, args)) }
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misuse(unknownFlag(cmd, err)) })
}

// policyFlags are the flags of the settings that say what lists may lack, and storageFlags those
// that say where the storage is. Subcommands have them, too.
var (
	policyFlags = []string{
		"feature-sparse-index", "sparse-index-required-archs", "sparse-index-required-platforms",
		"sparse-index-optional-without-platform", "policies",
	}
	storageFlags = []string{"storage", "distribution-config"}
)

// settingsOf are the settings with one of these flags.
func settingsOf(flags []string) []setting {
	return slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return !slices.Contains(flags, s.flag) })
}

// openStorage opens the storage that the settings name.
func openStorage(ctx context.Context, o options) (*registrystore.Store, error) {
	if o.server.Storage != "" {
		store, err := registrystore.OpenDirectory(o.server.Storage)
		if err == nil && !store.IsUsed() {
			err = fmt.Errorf("%s is no storage: no registry has ever used it; name the directory that has docker/registry/v2", o.server.Storage)
		}
		return store, err
	}
	return registrystore.Open(ctx, o.server.Distribution)
}
