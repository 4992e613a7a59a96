// Package login is for programs that log in to registries: it tells whether a registry takes
// credentials, and which ones copies would use. It stores none.
package login

import (
	"context"
	"fmt"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint/registry"
)

// Check asks a registry, HOST or HOST:PORT, whether it takes credentials. Everything but the
// credentials is as sys says, which may be nil. It asks in the way in which copies do, and about no
// repository, so that rights do not matter.
//
// It reports whether the registry has looked at the credentials: one that lets everybody in may
// not. The error is a *copy.RegistryError, with Status 401 for wrong credentials, or another reason
// why the registry could not be asked. No error has the password in it.
func Check(ctx context.Context, host string, credentials types.DockerAuthConfig, sys *types.SystemContext) (checked bool, err error) {
	name, err := reference.ParseNormalizedNamed(host + "/login")
	if err != nil {
		return false, fmt.Errorf("registry %q: %w", host, err)
	}
	own := types.SystemContext{}
	if sys != nil {
		own = *sys
	}
	own.DockerAuthConfig = &credentials
	shared := &registry.Shared{}
	defer func() { _ = shared.Close() }()
	return registry.CheckLogin(ctx, name, &own, shared)
}

// Find returns the credentials that copies use for a registry, or for what begins with key there,
// HOST/NAMESPACE; zero if there are none. It looks where sys leads: into the files of Podman and
// Docker, and asks the programs that these name. sys may be nil.
func Find(key, host string, sys *types.SystemContext) (types.DockerAuthConfig, error) {
	return registry.FindCredentials(key, host, sys)
}
