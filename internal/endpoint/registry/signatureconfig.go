package registry

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
)

// signatureConfig is what registries.d says about signatures. containers-registries.d(5).
type signatureConfig struct {
	signatureFile
	sys  *types.SystemContext // that it was read with
	read time.Time

	mu    sync.Mutex
	bases map[string]url.URL // guarded by mu; lookasides by the namespace that decides, without repositories
}

// signatureFile is one of its files, or what all of them say.
type signatureFile struct {
	DefaultDocker *signatureNamespace           `yaml:"default-docker"`
	Docker        map[string]signatureNamespace `yaml:"docker"`
}

type signatureNamespace struct {
	UseSigstoreAttachments *bool  `yaml:"use-sigstore-attachments"`
	Lookaside              string `yaml:"lookaside"`
	SigStore               string `yaml:"sigstore"` // what that was called before
}

// signatureConfigKey says what a configuration may be shared for.
type signatureConfigKey struct{ root, dir string }

const (
	// maxSignatureConfigs is how many are known.
	maxSignatureConfigs = 16
	// signatureConfigAge is how old a configuration may be. A mirror of many images reads the same
	// files for each, and those who change them do not wait for a second.
	signatureConfigAge = time.Second
)

// signatureConfig returns what the configuration is, or was a moment ago.
func (s *Shared) signatureConfig(sys *types.SystemContext) (*signatureConfig, error) {
	var key signatureConfigKey
	if sys != nil {
		key = signatureConfigKey{sys.RootForImplicitAbsolutePaths, sys.RegistriesDirPath}
	}
	s.mu.Lock()
	known := s.signatureConfigs[key]
	s.mu.Unlock()
	now := s.now()
	if known != nil && now.Sub(known.read) < signatureConfigAge {
		return known, nil
	}
	config, err := readSignatureConfig(sys)
	if err != nil {
		return nil, err
	}
	config.read = now
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.signatureConfigs, key)
	return bounded.GetOrAdd(&s.signatureConfigs, key, maxSignatureConfigs, func() *signatureConfig { return config }), nil
}

// readSignatureConfig reads the files that the docker transport reads. Contradictions among them
// are its to report: it reads them too, for lookaside.
func readSignatureConfig(sys *types.SystemContext) (*signatureConfig, error) {
	files := configfile.File{
		Name:                           "registries",
		Extension:                      "yaml",
		DoNotLoadMainFiles:             true,
		DoNotUseExtensionForConfigName: true,
		UserId:                         unshare.GetRootlessUID(),
	}
	if sys != nil {
		files.RootForImplicitAbsolutePaths = sys.RootForImplicitAbsolutePaths
		files.CustomConfigFileDropInDirectory = sys.RegistriesDirPath
	}
	merged := &signatureConfig{sys: sys, bases: map[string]url.URL{}}
	merged.Docker = map[string]signatureNamespace{}
	for item, err := range configfile.Read(&files) {
		if err != nil {
			return nil, fmt.Errorf("reading the signature storage configuration: %w", err)
		}
		content, err := io.ReadAll(item.Reader)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", item.Name, err)
		}
		var one signatureFile
		if err := yaml.Unmarshal(content, &one); err != nil {
			return nil, fmt.Errorf("reading %s: %w", item.Name, err)
		}
		if one.DefaultDocker != nil {
			merged.DefaultDocker = one.DefaultDocker
		}
		maps.Copy(merged.Docker, one.Docker)
	}
	return merged, nil
}

// usesAttachments reports whether sigstore attachments of ref are read: the most specific namespace
// that says anything decides.
func (c *signatureConfig) usesAttachments(ref types.ImageReference) bool {
	for _, name := range c.namespacesOf(ref) {
		if use := c.Docker[name].UseSigstoreAttachments; use != nil {
			return *use
		}
	}
	return c.DefaultDocker != nil && c.DefaultDocker.UseSigstoreAttachments != nil && *c.DefaultDocker.UseSigstoreAttachments
}

// lookaside is docker.SignatureStorageBaseURL for reading, which it asks once for all repositories
// about which the same namespace decides: that reads all files each time.
func (c *signatureConfig) lookaside(ref types.ImageReference) (*url.URL, error) {
	repository := "/" + reference.Path(ref.DockerReference())
	decides := ""
	for _, name := range c.namespacesOf(ref) {
		if said := c.Docker[name]; said.Lookaside != "" || said.SigStore != "" {
			decides = name
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	base, known := c.bases[decides]
	if !known {
		whole, err := docker.SignatureStorageBaseURL(c.sys, ref, false)
		if err != nil {
			return nil, err
		}
		base = *whole
		base.Path = strings.TrimSuffix(base.Path, repository)
		c.bases[decides] = base
	}
	base.Path += repository
	return &base, nil
}

// namespacesOf are the names by which c may speak of ref, the most specific first.
func (c *signatureConfig) namespacesOf(ref types.ImageReference) []string {
	if len(c.Docker) == 0 {
		return nil
	}
	return append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
}
