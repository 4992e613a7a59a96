package sparseserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/token" // for those who configure it
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
	store  *registrystore.Store // the same storage
	images imageRule
	// remembers says that distribution has a cache of what the storage has.
	remembers bool
	secret    string // of what clients carry between requests
	// children answers what the policy asks. It is the registry, too, but for what the registry
	// tells others of: no notification says that a client has pulled what the policy looked for.
	children http.Handler
	apps     []*handlers.App // to be shut down
}

// lockStorage makes the storage directory, unless it exists, and keeps everybody else out of it.
// The lock is nil if there is no directory, or if the server is to write nothing to one that
// nothing can be written to.
func lockStorage(c Config) (*registrystore.Lock, error) {
	if c.Storage == "" && c.Distribution != nil {
		return nil, nil
	}
	if c.Storage == "" {
		return nil, errors.New("no storage directory")
	}
	if err := os.MkdirAll(c.Storage, 0o755); err != nil {
		return nil, fmt.Errorf("storage directory: %w", err)
	}
	lock, err := registrystore.TakeLock(c.Storage, "sparse-registry")
	if c.ReadOnly && errors.Is(err, syscall.EROFS) {
		c.Log.Warn("the storage is not locked: its file system is read-only", "storage", c.Storage)
		return nil, nil
	}
	return lock, err
}

// newRegistry makes a registry over the storage directory, which exists.
func newRegistry(c Config) (*registry, error) {
	config, err := c.distribution()
	if err != nil {
		return nil, err
	}
	images, err := newImageRule(config.Validation)
	if err != nil {
		return nil, err
	}
	if config.HTTP.Secret == "" {
		if config.HTTP.Secret, err = loadSecret(c.Storage); err != nil {
			return nil, err
		}
	}
	store, err := registrystore.Open(context.Background(), config)
	if err != nil {
		return nil, err
	}
	if err := store.Ping(context.Background()); err != nil {
		return nil, err
	}
	r := &registry{store: store, images: images, remembers: len(registrystore.Caches(config.Storage)) > 0, secret: config.HTTP.Secret}
	if r.Handler, err = r.newApp(config); err != nil {
		return nil, err
	}
	r.children = r.Handler
	if len(config.Notifications.Endpoints) > 0 {
		if r.children, err = r.newApp(quiet(config)); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

// newApp starts distribution.
func (r *registry) newApp(config *configuration.Configuration) (_ http.Handler, err error) {
	defer func() {
		if p := recover(); p != nil { // distribution's way to refuse a configuration
			err = fmt.Errorf("starting the registry: %v", p)
		}
	}()
	app := handlers.NewApp(context.Background(), config)
	r.apps = append(r.apps, app)
	return app, nil
}

// close releases what the registry holds. It fails for nothing that is configured here.
func (r *registry) close() {
	for _, app := range r.apps {
		_ = app.Shutdown()
	}
}

// loadSecret reads the secret of a storage directory, or makes it. Whoever is killed while making
// it leaves none. Without a directory, which is "", and on a file system that is read-only, each
// secret is another one.
func loadSecret(storage string) (string, error) {
	if storage == "" {
		return rand.Text(), nil
	}
	path := filepath.Join(storage, secretFile)
	secret, err := os.ReadFile(path)
	if err == nil && len(secret) > 0 {
		return string(secret), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), secretFile+".*")
	if errors.Is(err, syscall.EROFS) {
		return rand.Text(), nil
	}
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
