package sparseserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// secretFile is where the storage directory keeps the key by which distribution signs the state of
// an upload. With a key of the process's own, nobody could continue an upload after a restart.
const secretFile = "upload-secret"

// A registry is distribution's handler, which accepts any sparse list.
type registry struct {
	http.Handler
	app    *handlers.App
	store  *registrystore.Store // the same storage
	images imageRule
}

// lockStorage makes a storage directory, unless it exists, and keeps everybody else out of it.
func lockStorage(storage string) (*registrystore.Lock, error) {
	if storage == "" {
		return nil, errors.New("no storage directory")
	}
	if err := os.MkdirAll(storage, 0o755); err != nil {
		return nil, err
	}
	return registrystore.TakeLock(storage, "sparse-registry")
}

// newRegistry makes a registry over the storage directory, which exists.
func newRegistry(c Config) (_ *registry, retErr error) {
	config, err := c.distribution()
	if err != nil {
		return nil, err
	}
	images, err := newImageRule(config.Validation)
	if err != nil {
		return nil, err
	}
	config.HTTP.Secret, err = loadSecret(filepath.Join(c.Storage, secretFile))
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // distribution's way to refuse a configuration
			retErr = fmt.Errorf("starting the registry: %v", p)
		}
	}()
	store, err := registrystore.Open(context.Background(), config)
	if err != nil {
		return nil, err
	}
	app := handlers.NewApp(context.Background(), config)
	return &registry{Handler: app, app: app, store: store, images: images}, nil
}

// close releases what the registry holds. It fails for nothing that is configured here.
func (r *registry) close() { _ = r.app.Shutdown() }

// loadSecret reads the secret at path, or makes it. Whoever is killed while making it leaves none.
func loadSecret(path string) (string, error) {
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) > 0 {
		return string(secret), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), secretFile+".*")
	if err != nil {
		return "", err
	}
	defer os.Remove(temporary.Name()) // gone already unless something fails
	made := rand.Text()
	_, err = temporary.WriteString(made)
	if err := errors.Join(err, temporary.Close()); err != nil {
		return "", err
	}
	return made, os.Rename(temporary.Name(), path)
}
