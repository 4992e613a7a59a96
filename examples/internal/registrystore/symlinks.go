package registrystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// checkAbsent returns an error if what the driver does not find is behind a symbolic link to what
// is not there, such as a disk that is not mounted: it may well exist, and what it needs, too.
func (s *Store) checkAbsent(p string) error {
	if s.directory == "" {
		return nil
	}
	for ; p != "/"; p = path.Dir(p) {
		file := filepath.Join(s.directory, filepath.FromSlash(p))
		info, err := os.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			return err
		}
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("%s is a symbolic link that leads nowhere", p)
		}
		return nil
	}
	return nil
}
