package registrystore

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // every program has it
)

const (
	filesystemDriver = "filesystem"
	rootParameter    = "rootdirectory"
)

// A Store is the storage of a registry.
type Store struct {
	driver    storagedriver.StorageDriver
	directory string // "" unless the driver is distribution's filesystem driver
}

// OpenDirectory opens the storage in a directory, which must exist.
func OpenDirectory(directory string) (*Store, error) {
	return Open(context.Background(), &configuration.Configuration{
		Storage: configuration.Storage{filesystemDriver: {rootParameter: directory}},
	})
}

// Open opens the storage that a configuration of distribution names. Its driver must be part of the
// program; the directory of the filesystem driver must exist.
func Open(ctx context.Context, config *configuration.Configuration) (*Store, error) {
	name, parameters := config.Storage.Type(), config.Storage.Parameters()
	directory := ""
	if name == filesystemDriver {
		directory = fmt.Sprint(parameters[rootParameter])
		if info, err := os.Stat(directory); err != nil {
			return nil, fmt.Errorf("opening the storage: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("opening the storage: %w", &fs.PathError{Op: "open", Path: directory, Err: fs.ErrInvalid})
		}
	}
	driver, err := factory.Create(ctx, name, parameters)
	if err != nil {
		return nil, fmt.Errorf("opening the storage: %w", err)
	}
	return &Store{driver: driver, directory: directory}, nil
}

// New returns the storage behind a driver.
func New(driver storagedriver.StorageDriver) *Store { return &Store{driver: driver} }

// WithDriver returns the same storage, behind another driver: one that wraps that of s.
func (s *Store) WithDriver(wrap func(storagedriver.StorageDriver) storagedriver.StorageDriver) *Store {
	return &Store{driver: wrap(s.driver), directory: s.directory}
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
