package sparseserver

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/distribution/distribution/v3/configuration"
)

// What distribution sets itself only when it reads a configuration file.
const (
	maxCatalogEntries = 1000
	maxTags           = 1000
)

// distribution is the configuration of distribution that c stands for.
func (c Config) distribution() (*configuration.Configuration, error) {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": c.Storage},
			"delete":     {"enabled": !c.NoDelete},
		},
		Catalog: configuration.Catalog{MaxEntries: maxCatalogEntries},
		Tags:    configuration.Tags{MaxTags: maxTags},
	}
	if err := checkURLs(c.ExternalURL, c.RelativeURLs); err != nil {
		return nil, err
	}
	config.HTTP.Host, config.HTTP.RelativeURLs = c.ExternalURL, c.RelativeURLs
	if c.AllowLayerURLs != "" {
		config.Validation.Manifests.URLs.Allow = []string{c.AllowLayerURLs}
	}
	config.Validation.Manifests.Indexes.Platforms = "none" // what must be there is decided in front
	return config, nil
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
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || (rest.String() != "" && rest.String() != "/") {
		return fmt.Errorf("external URL %q: must be http://HOST or https://HOST, with a port if it is not the scheme's, and nothing else", external)
	}
	return nil
}
