package naming

import (
	"context"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Remove removes the manifest or list that ref names by its digest from a registry, and with it
// every tag that names it: the caller knows whether others need it. Its signatures in a lookaside
// that is a directory go, too; what is attached to it, and what it names, stay. Mirrors of
// registries.conf do not matter. sys is the configuration; nil means the defaults.
//
// The *copy.RegistryError of a registry that removes nothing has the status 405, or the code
// UNSUPPORTED.
func (r *Registries) Remove(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) error {
	if err := registry.Remove(ctx, ref, sys, r.shared); err != nil {
		return failure.New("removing", failure.DestinationSide, transports.ImageName(ref), err)
	}
	return nil
}
