package distributionconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// defaultRoot is where distribution stores if nothing says otherwise.
const defaultRoot = "/var/lib/registry"

// Settings are what a configuration file says to sparse-registry.
type Settings struct {
	// Distribution is what distribution itself is told. What other fields have is not in it: it
	// asks for no passwords, and does not say whether one may delete.
	Distribution *configuration.Configuration

	Storage  string // directory of the filesystem driver; "" if and only if another one is configured
	Htpasswd string // file; "" for none
	ReadOnly bool
	Delete   bool // off unless the file says otherwise, as in distribution

	// Warnings are sentences for the operator: what is not as the file says, although the server
	// starts.
	Warnings []string
}

// Load reads a configuration file, and the variables of the process's environment that begin with
// REGISTRY_. Its error names all that is not honoured, with what to use instead.
func Load(path string) (*Settings, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := load(content, os.Environ())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// load reads content. environment is what the parser, which reads the process's, will find.
func load(content []byte, environment []string) (*Settings, error) {
	s := &Settings{}
	err := checkFile(content)
	warnings, environmentErr := checkEnvironment(environment)
	if err := errors.Join(err, environmentErr); err != nil {
		return nil, err
	}
	s.Warnings = warnings
	if s.Distribution, err = parse(content); err != nil {
		return nil, err
	}
	if err := errors.Join(s.takeStorage(), s.takeAuth()); err != nil {
		return nil, err
	}
	s.takeValidation()
	return s, nil
}

func parse(content []byte) (config *configuration.Configuration, err error) {
	defer func() {
		if p := recover(); p != nil { // its way to refuse two drivers
			err = fmt.Errorf("%v", p)
		}
	}()
	return configuration.Parse(bytes.NewReader(content))
}

// takeStorage takes out of the storage's section what the server decides itself.
func (s *Settings) takeStorage() error {
	storage := s.Distribution.Storage
	if err := checkStorage(storage); err != nil {
		return err
	}
	enabled, err := flag(storage["delete"], "enabled")
	if err != nil {
		return fmt.Errorf("storage.delete.%w", err)
	}
	s.Delete = enabled
	delete(storage, "delete")
	maintenance := storage["maintenance"]
	readOnly, _ := section(maintenance["readonly"])
	if s.ReadOnly, err = flag(readOnly, "enabled"); err != nil {
		return fmt.Errorf("storage.maintenance.readonly.%w", err)
	}
	delete(maintenance, "readonly")
	if purging, ok := maintenance["uploadpurging"]; ok {
		maintenance["uploadpurging"] = asDistributionReads(purging)
	}
	s.takeDirectory()
	return nil
}

// takeDirectory takes the directory of the storage, if it is in one, and fills in distribution's
// own where none is named.
func (s *Settings) takeDirectory() {
	storage := s.Distribution.Storage
	if storage.Type() != registrystore.FilesystemDriver {
		return
	}
	parameters := storage.Parameters()
	if parameters == nil {
		parameters = configuration.Parameters{}
		storage[registrystore.FilesystemDriver] = parameters
	}
	if parameters[registrystore.RootParameter] == nil {
		parameters[registrystore.RootParameter] = defaultRoot
	}
	s.Storage = fmt.Sprint(parameters[registrystore.RootParameter])
}

// takeAuth takes passwords out of the configuration: they are asked for in front of distribution.
func (s *Settings) takeAuth() error {
	auth := s.Distribution.Auth
	if err := checkAuth(auth); err != nil {
		return err
	}
	switch auth.Type() {
	case "none":
		s.Distribution.Auth = nil
	case "htpasswd":
		path, ok := auth.Parameters()["path"].(string)
		if !ok || path == "" {
			return errors.New("auth.htpasswd.path: names no file")
		}
		s.Htpasswd, s.Distribution.Auth = path, nil
		if auth.Parameters()["realm"] != nil {
			s.Warnings = append(s.Warnings, "auth.htpasswd.realm is not shown to clients: the realm is sparse-registry's own")
		}
	}
	return nil
}

// takeValidation leaves it to the policy which children of a list must be there.
func (s *Settings) takeValidation() {
	indexes := &s.Distribution.Validation.Manifests.Indexes
	if (indexes.Platforms != "" && indexes.Platforms != "none") || len(indexes.PlatformList) > 0 {
		s.Warnings = append(s.Warnings,
			"validation.manifests.indexes is not in force: the policy decides which children of a list must be there (--feature-sparse-index)")
	}
	*indexes = configuration.ValidationIndexes{Platforms: "none"}
}

// asDistributionReads makes a section of the type that distribution wants and the parser makes of a
// file, but not of the environment.
func asDistributionReads(value any) map[any]any {
	parameters, _ := section(value)
	converted := make(map[any]any, len(parameters))
	for key, value := range parameters {
		converted[key] = value
	}
	return converted
}

// flag is a truth value among parameters, false if it is not there.
func flag(parameters map[string]any, name string) (bool, error) {
	switch v := parameters[name].(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	default:
		return false, fmt.Errorf("%s: %v is neither true nor false", name, v)
	}
}
