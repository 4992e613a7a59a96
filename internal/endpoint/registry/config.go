package registry

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"
	"go.podman.io/image/v5/version"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
)

// Docker Hub has other names in references than on the wire.
const (
	dockerHub         = "docker.io"
	dockerHubRegistry = "registry-1.docker.io"
)

var defaultUserAgent = "sparsecopy (go.podman.io/image " + version.Version + ")"

// named is the name that ref, of the docker transport, stands for.
func named(ref types.ImageReference) (reference.Named, error) {
	if ref.Transport().Name() != docker.Transport.Name() {
		return nil, &Unsupported{What: "transport " + ref.Transport().Name()}
	}
	return ref.DockerReference(), nil
}

// physical is one of the repositories that a reference may be read from.
type physical struct {
	ref  reference.Named
	repo *repository
}

// pullSources are the repositories to read name from, in the order in which they are to be tried.
// The last one is name's own.
func pullSources(name reference.Named, sys *types.SystemContext, sh *Shared, stats *counters) ([]physical, error) {
	registry, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil {
		return nil, fmt.Errorf("loading the registries configuration: %w", err)
	}
	if registry == nil {
		registry = &sysregistriesv2.Registry{
			Endpoint: sysregistriesv2.Endpoint{Location: name.String()},
			Prefix:   name.String(),
		}
	}
	sources, err := registry.PullSourcesFromReference(name)
	if err != nil {
		return nil, err
	}
	var all []physical
	var failure error // of the last one that cannot be used, which the others may replace
	for _, s := range sources {
		repo, err := pullRepository(s, name, sys, sh, stats)
		if err != nil {
			logrus.Debugf("Not reading from %s: %v", s.Reference, err)
			failure = err
			continue
		}
		all = append(all, physical{ref: s.Reference, repo: repo})
	}
	if len(all) == 0 {
		return nil, failure
	}
	return all, nil
}

func pullRepository(s sysregistriesv2.PullSource, logical reference.Named, sys *types.SystemContext, sh *Shared,
	stats *counters,
) (*repository, error) {
	// Credentials that the caller gives directly are for the registry that the reference names, not
	// for a mirror elsewhere.
	given := sys
	if sys != nil && reference.Domain(s.Reference) != reference.Domain(logical) {
		own := *sys
		own.DockerAuthConfig = nil
		own.DockerBearerRegistryToken = ""
		given = &own
	}
	repo, err := newRepository(s.Reference, given, s.Endpoint.Insecure, pulling, sys, sh)
	if err != nil {
		return nil, err
	}
	repo.namespace = s.Endpoint.NamespaceProxy
	repo.stats = stats
	return repo, nil
}

// pushRepository is the repository to write name to.
func pushRepository(name reference.Named, sys *types.SystemContext, sh *Shared, stats *counters) (*repository, error) {
	return ownRepository(name, pushing, sys, sh, stats)
}

// ownSource is name's own repository, to be read from.
func ownSource(name reference.Named, sys *types.SystemContext, sh *Shared, stats *counters) ([]physical, error) {
	repo, err := ownRepository(name, pulling, sys, sh, stats)
	if err != nil {
		return nil, err
	}
	return []physical{{ref: name, repo: repo}}, nil
}

// ownRepository is the repository that name says. Mirrors and rewrites do not apply.
func ownRepository(
	name reference.Named, r role, sys *types.SystemContext, sh *Shared, stats *counters,
) (*repository, error) {
	registry, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil {
		return nil, fmt.Errorf("loading the registries configuration: %w", err)
	}
	repo, err := newRepository(name, sys, registry != nil && registry.Insecure, r, sys, sh)
	if err != nil {
		return nil, err
	}
	repo.stats = stats
	return repo, nil
}

// newRepository is the repository that name says, with the credentials that credentialSys leads to.
// sys has everything else.
func newRepository(name reference.Named, credentialSys *types.SystemContext, insecure bool, r role, sys *types.SystemContext,
	sh *Shared,
) (*repository, error) {
	if err := checkBlocked(name, sys); err != nil {
		return nil, err
	}
	sys, credentialSys = sh.contextFor(name, sys), sh.contextFor(name, credentialSys)
	creds, err := sh.credentialsFor(name, credentialSys)
	if err != nil {
		return nil, err
	}
	repo := &repository{
		shared:    sh,
		ref:       name,
		name:      reference.Path(name),
		actions:   "pull",
		creds:     creds,
		userAgent: cmp.Or(sh.UserAgent, defaultUserAgent),
	}
	if r == pushing {
		repo.actions = "pull,push"
	}
	if sys != nil && sys.DockerRegistryUserAgent != "" {
		repo.userAgent = sys.DockerRegistryUserAgent
	}
	if credentialSys != nil {
		repo.registryToken = credentialSys.DockerBearerRegistryToken
	}
	if sys != nil && sys.DockerInsecureSkipTLSVerify != types.OptionalBoolUndefined {
		insecure = sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue
	}
	if repo.host, err = findHost(reference.Domain(name), insecure, r, sys, sh); err != nil {
		return nil, err
	}
	repo.stack()
	return repo, nil
}

// contextFor is sys for the registry of a repository.
func (s *Shared) contextFor(name reference.Named, sys *types.SystemContext) *types.SystemContext {
	if s == nil || s.ContextFor == nil {
		return sys
	}
	return s.ContextFor(reference.Domain(name), sys)
}

// PushContext is sys for what containers/image opens to write to ref. It is sys itself where ref is
// in no registry.
func (s *Shared) PushContext(ref types.ImageReference, sys *types.SystemContext) *types.SystemContext {
	name, err := named(ref)
	if err != nil {
		return sys
	}
	return s.contextFor(name, sys)
}

// PullContext is sys for what containers/image opens to read ref. That uses one configuration for
// all registries that registries.conf sends it to: if they are several, it is sys as it is, since
// nothing that is for one of them may be sent to another.
func (s *Shared) PullContext(ref types.ImageReference, sys *types.SystemContext) *types.SystemContext {
	name, err := named(ref)
	if err != nil {
		return sys
	}
	registry, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil || registry == nil { // whoever opens it says what is wrong
		return s.contextFor(name, sys)
	}
	sources, err := registry.PullSourcesFromReference(name)
	if err != nil || len(sources) == 0 {
		return sys
	}
	first := sources[0].Reference
	for _, other := range sources {
		if reference.Domain(other.Reference) != reference.Domain(first) {
			return sys
		}
	}
	return s.contextFor(first, sys)
}

// checkBlocked fails if the registries configuration forbids name.
func checkBlocked(name reference.Named, sys *types.SystemContext) error {
	registry, err := sysregistriesv2.FindRegistry(sys, name.Name())
	if err != nil {
		return fmt.Errorf("loading the registries configuration: %w", err)
	}
	if registry != nil && registry.Blocked {
		return fmt.Errorf("registry %s is blocked in one of %s", registry.Prefix, sysregistriesv2.ConfigurationSourceDescription(sys))
	}
	return nil
}

func findHost(domain string, insecure bool, r role, sys *types.SystemContext, sh *Shared) (*host, error) {
	dir, err := certDir(sys, domain)
	if err != nil {
		return nil, fmt.Errorf("looking for the certificates for %s: %w", domain, err)
	}
	registry := domain
	if domain == dockerHub {
		registry = dockerHubRegistry
	}
	return sh.host(newHostKey(registry, r, insecure, certificatesIn(dir), sys), func() (*host, error) {
		tlsConfig := &tls.Config{}
		if sys != nil && sys.BaseTLSConfig != nil {
			tlsConfig = sys.BaseTLSConfig.Clone()
			if tlsConfig.RootCAs != nil {
				tlsConfig.RootCAs = tlsConfig.RootCAs.Clone() // SetupCertificates adds to it
			}
		}
		if dir != "" {
			if err := tlsclientconfig.SetupCertificates(dir, tlsConfig); err != nil {
				return nil, fmt.Errorf("reading the certificates for %s: %w", domain, err)
			}
		}
		return newHost(registry, insecure, tlsConfig, sys), nil
	})
}

// certificatesIn tells a directory with certificates, "" for none, from others, and from itself
// after its files were renewed.
func certificatesIn(dir string) string {
	if dir == "" {
		return ""
	}
	files, _ := os.ReadDir(dir) // whoever reads the certificates says what is wrong with it
	known := dir
	for _, file := range files {
		if info, err := os.Stat(filepath.Join(dir, file.Name())); err == nil { // not of a link
			known += fmt.Sprintf("\n%s %d %d", file.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return known
}

// certDir is the directory with the certificates for a registry, "" if there is none: the first
// that exists in the search path of containers-certs.d(5).
func certDir(sys *types.SystemContext, domain string) (string, error) {
	root := ""
	if sys != nil {
		if sys.DockerCertPath != "" {
			return sys.DockerCertPath, nil
		}
		if sys.DockerPerHostCertDirPath != "" {
			return filepath.Join(sys.DockerPerHostCertDirPath, domain), nil
		}
		root = sys.RootForImplicitAbsolutePaths
	}
	paths, err := configfile.GetSearchPaths(&configfile.File{
		Name:                           "certs",
		Extension:                      "d",
		DoNotUseExtensionForConfigName: true,
		UserId:                         unshare.GetRootlessUID(),
		RootForImplicitAbsolutePaths:   root,
	})
	if err != nil {
		return "", err
	}
	for _, base := range append(paths.DropInDirectories, filepath.Join(root, dockerCertsDir())) {
		dir := filepath.Join(base, domain)
		_, err := os.Stat(dir)
		switch {
		case err == nil:
			return dir, nil
		case errors.Is(err, fs.ErrPermission):
			logrus.Debugf("Looking for certificates: %v", err)
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", nil
}

// dockerCertsDir is where Docker keeps certificates.
func dockerCertsDir() string {
	if runtime.GOOS == "freebsd" {
		return "/usr/local/etc/docker/certs.d"
	}
	return "/etc/docker/certs.d"
}
