package registrystore

import (
	"fmt"
	"os"
	"path/filepath"
)

// checkRegular returns an error for a pipe or a device in the place of a file: whoever opens it
// might wait for ever. Whether there is anything, the driver says.
func (s *Store) checkRegular(p string) error {
	if s.directory == "" {
		return nil
	}
	info, err := os.Stat(filepath.Join(s.directory, filepath.FromSlash(p)))
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("it is no file, but %s", info.Mode().Type())
	}
	return nil
}
