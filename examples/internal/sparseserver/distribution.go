package sparseserver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"

	"github.com/distribution/distribution/v3/configuration"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// What distribution sets itself only when it reads a configuration file.
const (
	maxCatalogEntries = 1000
	maxTags           = 1000
)

// distribution is the configuration of distribution that c stands for. Nobody else has it.
func (c Config) distribution() (*configuration.Configuration, error) {
	if err := checkURLs(c.ExternalURL, c.RelativeURLs); err != nil {
		return nil, err
	}
	config := &configuration.Configuration{
		Storage: configuration.Storage{registrystore.FilesystemDriver: {registrystore.RootParameter: c.Storage}},
		Catalog: configuration.Catalog{MaxEntries: maxCatalogEntries},
		Tags:    configuration.Tags{MaxTags: maxTags},
	}
	if c.Distribution != nil {
		config = cloneConfiguration(c.Distribution)
	}
	// In a directory, we remove uploads that nobody goes on with: by when something came last, not
	// by when they began, so that none is removed while it grows.
	_, set := config.Storage["maintenance"]["uploadpurging"]
	if c.ReadOnly || !set && c.Storage != "" {
		config.Storage["maintenance"] = withoutPurging()
	}
	config.Storage["delete"] = configuration.Parameters{"enabled": !c.NoDelete}
	config.HTTP.Host, config.HTTP.RelativeURLs = c.ExternalURL, c.RelativeURLs
	if c.AllowLayerURLs != "" {
		urls := &config.Validation.Manifests.URLs
		urls.Allow = append(urls.Allow, c.AllowLayerURLs)
	}
	config.Validation.Manifests.Indexes.Platforms = "none" // what must be there is decided in front
	config.Middleware = map[string][]configuration.Middleware{"storage": {{Name: boundMiddleware}}}
	return config, nil
}

// cloneConfiguration returns a copy in which distribution may change what it does change.
func cloneConfiguration(of *configuration.Configuration) *configuration.Configuration {
	c := *of
	c.Storage = maps.Clone(of.Storage)
	for name, parameters := range c.Storage {
		c.Storage[name] = maps.Clone(parameters)
	}
	urls := &c.Validation.Manifests.URLs
	urls.Allow, urls.Deny = slices.Clone(urls.Allow), slices.Clone(urls.Deny)
	return &c
}

// quiet is config for a registry over the same storage that nobody hears of: it sends no
// notifications, remembers nothing of what it is asked, and removes no uploads.
func quiet(config *configuration.Configuration) *configuration.Configuration {
	c := cloneConfiguration(config)
	c.Notifications, c.Redis = configuration.Notifications{}, configuration.Redis{}
	delete(c.Storage, "cache")
	c.Storage["maintenance"] = withoutPurging()
	return c
}

// withoutPurging is a section of the storage by which distribution removes no uploads.
func withoutPurging() configuration.Parameters {
	return configuration.Parameters{"uploadpurging": map[any]any{"enabled": false}}
}

// checkURLs refuses an external URL of which distribution would leave something out.
func checkURLs(external string, relative bool) error {
	if external == "" {
		return nil
	}
	if relative {
		return errors.New("an external URL and relative URLs exclude each other")
	}
	u, err := url.Parse(external)
	if err != nil {
		return fmt.Errorf("external URL: %w", err)
	}
	rest := *u
	rest.Scheme, rest.Host = "", ""
	_, portErr := net.LookupPort("tcp", cmp.Or(u.Port(), u.Scheme))
	if portErr != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (rest.String() != "" && rest.String() != "/") {
		return fmt.Errorf("external URL %q: must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else", external)
	}
	return nil
}
