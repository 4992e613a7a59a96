package registrystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
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

// explainCircle returns an error that names the symbolic link, and says what to do, if one on the
// way to p leads in a circle; else err, for which p could not be read. That is looked for, because
// the driver's errors do not say it. What such a link should lead to may be needed: nobody goes on
// without it.
func (s *Store) explainCircle(p string, err error) error {
	if s.directory == "" {
		return err
	}
	at := "/"
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		at = path.Join(at, name)
		if leadsInCircle(filepath.Join(s.directory, filepath.FromSlash(at))) {
			return fmt.Errorf("%s is a symbolic link that leads in a circle: remove it, or have it lead to what it stands for", at)
		}
	}
	return err
}

// leadsInCircle reports whether a file is a symbolic link to itself, or to a directory that it is
// in.
func leadsInCircle(file string) bool {
	info, err := os.Lstat(file)
	if err != nil || info.Mode().Type() != fs.ModeSymlink {
		return false
	}
	if _, err := os.Stat(file); err != nil {
		return errors.Is(err, syscall.ELOOP)
	}
	target, err := filepath.EvalSymlinks(file)
	parent, parentErr := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil || parentErr != nil {
		return false
	}
	inside, err := filepath.Rel(target, parent)
	return err == nil && filepath.IsLocal(inside)
}
