package registrystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // every program has it
	"github.com/opencontainers/go-digest"
)

// How a configuration of distribution names a storage in a directory: its driver, and the parameter
// that has the directory.
const (
	FilesystemDriver = "filesystem"
	RootParameter    = "rootdirectory"
)

// A Store is the storage of a registry.
type Store struct {
	driver    storagedriver.StorageDriver
	directory string // "" unless the driver is distribution's filesystem driver

	// noted is told of each manifest that is put, or tagged, through this Store.
	noted func(repository string, manifest digest.Digest)
}

// OpenDirectory opens the storage in a directory, which must exist.
func OpenDirectory(directory string) (*Store, error) {
	return Open(context.Background(), &configuration.Configuration{
		Storage: configuration.Storage{FilesystemDriver: {RootParameter: directory}},
	})
}

// Open opens the storage that a configuration of distribution names. Its driver must be part of the
// program; the directory of the filesystem driver must exist.
func Open(ctx context.Context, config *configuration.Configuration) (*Store, error) {
	name, parameters := config.Storage.Type(), config.Storage.Parameters()
	directory := ""
	if name == FilesystemDriver {
		directory = fmt.Sprint(parameters[RootParameter])
		if info, err := os.Stat(directory); err != nil {
			return nil, fmt.Errorf("opening the storage: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("opening the storage: %s is no directory", directory)
		}
	}
	driver, err := factory.Create(ctx, name, parameters)
	if unknown := new(factory.InvalidStorageDriverError); errors.As(err, unknown) {
		return nil, fmt.Errorf("opening the storage: the driver %q is not in this program: %s", name, whoHas(name))
	}
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	s := New(driver)
	s.directory = directory
	return s, nil
}

// whoHas says how to come by a driver that is not in the program.
func whoHas(driver string) string {
	if tag, ok := cloudDrivers[driver]; ok {
		return "build examples/sparse-registry-cloud with -tags " + tag
	}
	return "use filesystem, or s3, gcs or azure as examples/sparse-registry-cloud has them"
}

// cloudDrivers are the drivers of examples/sparse-registry-cloud, each with the tag that it is
// built with.
var cloudDrivers = map[string]string{"s3": "s3", "s3aws": "s3", "gcs": "gcs", "azure": "azure"}

// Ping returns an error if the storage cannot be read. That it is empty is none.
func (s *Store) Ping(ctx context.Context) error {
	if s.directory != "" {
		_, err := os.ReadDir(s.directory)
		return err
	}
	if _, err := s.driver.Stat(ctx, "/"); err != nil && !isAbsent(err) {
		return fmt.Errorf("reading the storage: %w", err)
	}
	return nil
}

// IsUsed reports whether a registry has ever used a storage in a directory: distribution has
// written to it, or sparse-registry has held its lock. It says so, too, where that cannot be found
// out.
func (s *Store) IsUsed() bool {
	for _, name := range []string{blobsRoot, repositoriesRoot, OwnDirectory} {
		if _, err := os.Stat(filepath.Join(s.directory, name)); !errors.Is(err, os.ErrNotExist) {
			return true
		}
	}
	return false
}

// New returns the storage behind a driver.
func New(driver storagedriver.StorageDriver) *Store {
	return &Store{driver: driver, noted: func(string, digest.Digest) {}}
}

// WithDriver returns the same storage, behind another driver: one that wraps that of s.
func (s *Store) WithDriver(wrap func(storagedriver.StorageDriver) storagedriver.StorageDriver) *Store {
	c := *s
	c.driver = wrap(s.driver)
	return &c
}

// WithNote returns the same storage, for somebody whose PutManifest and PutTag call note after they
// have written.
func (s *Store) WithNote(note func(repository string, manifest digest.Digest)) *Store {
	c := *s
	c.noted = note
	return &c
}

// Directory is where the storage is, "" if it is not in a directory of this machine's.
func (s *Store) Directory() string { return s.directory }

// Name names the storage for people: its directory, or the driver.
func (s *Store) Name() string {
	if s.directory != "" {
		return s.directory
	}
	return s.driver.Name()
}

// Caches are the kinds of cache, such as "inmemory" or "redis", that distribution is to have of
// what a storage has, by either name of that setting.
func Caches(storage configuration.Storage) []any {
	var kinds []any
	for _, name := range []string{"blobdescriptor", "layerinfo"} {
		if kind := storage["cache"][name]; kind != nil && kind != "" {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
