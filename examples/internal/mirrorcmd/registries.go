package mirrorcmd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// registries are what the sync file in force says of how registries are reached. The methods are
// safe for concurrent use.
type registries struct {
	byName atomic.Pointer[map[string]syncfile.Registry] // in lower case
}

// use puts a file in force.
func (r *registries) use(file *syncfile.File) {
	byName := map[string]syncfile.Registry{}
	for _, registry := range file.Registries {
		byName[strings.ToLower(registry.Name)] = registry
	}
	r.byName.Store(&byName)
}

// find returns what is said of a registry, its zero value for nothing.
func (r *registries) find(name string) syncfile.Registry {
	byName := r.byName.Load()
	if byName == nil {
		return syncfile.Registry{}
	}
	return (*byName)[strings.ToLower(name)]
}

// registryContext returns the configuration to reach a registry with, given that of an end, which
// has what its flags say: where they say nothing, the file does, and then registries.conf and the
// environment.
func (a *access) registryContext(name string, sys *types.SystemContext) *types.SystemContext {
	said := a.registries.find(name)
	if said == (syncfile.Registry{}) || sys == nil {
		return sys
	}
	own := *sys
	if own.DockerInsecureSkipTLSVerify == types.OptionalBoolUndefined && said.TLSVerify != types.OptionalBoolUndefined {
		own.DockerInsecureSkipTLSVerify = types.NewOptionalBool(said.TLSVerify == types.OptionalBoolFalse)
	}
	own.DockerCertPath = cmp.Or(own.DockerCertPath, said.CertDir)
	if said.AuthFile != "" && !a.authFileGiven(own.AuthFilePath) {
		own.AuthFilePath = said.AuthFile
	}
	return &own
}

// authFileGiven reports whether a flag names a file with credentials.
func (a *access) authFileGiven(path string) bool {
	return path != "" && slices.Contains([]string{a.authFile, a.source.authFile, a.dest.authFile, a.referrers.authFile}, path)
}

// reached is what a file says of registries, wherever it says it.
func reached(file *syncfile.File) string {
	var said []string
	for _, registry := range file.Registries {
		registry.Line = 0
		said = append(said, fmt.Sprintf("%+v", registry))
	}
	slices.Sort(said)
	return strings.Join(said, "\n")
}

// checkRegistries refuses files and directories that a sync file names for registries and that are
// not what they should be, as access.checkFiles does for flags.
func checkRegistries(name string, file *syncfile.File) error {
	for _, registry := range file.Registries {
		for _, f := range []struct {
			key, path string
			check     func(path string) error
		}{{"cert-dir", registry.CertDir, checkCertDir}, {"authfile", registry.AuthFile, checkAuthFile}} {
			if f.path == "" {
				continue
			}
			if err := f.check(f.path); err != nil {
				return fmt.Errorf("%s:%d: %s of %s: %w", name, registry.Line, f.key, registry.Name, err)
			}
		}
	}
	return nil
}
