// Package distributiontest is plain distribution, for tests of what works with it or its storage.
package distributiontest

import (
	"net/http"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // InDirectory has it
)

// InDirectory returns a registry whose storage is in a directory. It accepts any sparse list, and
// lets everybody delete. It ends with the test.
func InDirectory(t testing.TB, directory string) http.Handler {
	return New(t, "filesystem", configuration.Parameters{"rootdirectory": directory})
}

// New is InDirectory over a storage driver, which the program has, with its parameters.
func New(t testing.TB, driver string, parameters configuration.Parameters) http.Handler {
	config := &configuration.Configuration{
		Storage: configuration.Storage{driver: parameters, "delete": {"enabled": true}},
		Catalog: configuration.Catalog{MaxEntries: 100},
	}
	config.HTTP.Secret = "secret"
	config.Validation.Manifests.Indexes.Platforms = "none"
	app := handlers.NewApp(t.Context(), config)
	t.Cleanup(func() { _ = app.Shutdown() }) // fails for nothing that is configured here
	return app
}
