package mirrorcmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

// An onlyEnd is what a command needs that has to do with one place.
type onlyEnd struct {
	copier *copy.Copier
	sys    *types.SystemContext
}

// withOnlyEnd calls do with the only end of a command, whose flags have been checked, and within
// the time that they allow.
func (e *environment) withOnlyEnd(cmd *cobra.Command, a *access, out *output, do func(context.Context, onlyEnd) error) error {
	sys, err := a.oneContext(e)
	if err != nil {
		return err
	}
	ctx, cancel := out.apply(cmd.Context())
	defer cancel()
	copier := copy.NewCopier(e.limits(a))
	defer func() { _ = copier.Close() }() // closes connections that nobody uses any more
	return orStopped(ctx, do(ctx, onlyEnd{copier, sys}))
}

// atOnlyEnd is an error of the library about what people call name: there is no side to name, and
// the flags have no prefix.
func atOnlyEnd(name string, err error) error {
	if err == nil {
		return nil
	}
	return atEnd("", name, withoutSide(err))
}

// withoutSide is an error of the library without the side that it names.
func withoutSide(err error) error {
	if failed, ok := errors.AsType[*copy.Error](err); ok {
		return failed.Err
	}
	return err
}
