package blobdir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tempPrefix begins the names of files that are not complete.
const tempPrefix = ".sparsecopy-write-"

// tempAge is how old such a file is at least if nobody writes to it any more.
const tempAge = 24 * time.Hour

// tempFor returns the directory in which files for dir are made: Temp, or dir itself if no file can
// be moved from there to dir.
func (d *Dir) tempFor(dir string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if temp, ok := d.temps[dir]; ok {
		return temp, nil
	}
	temp := d.Temp
	moves, err := canMove(temp, dir)
	if err == nil && !moves {
		temp = dir
		err = removeOld(dir)
	}
	if err != nil {
		return "", err
	}
	if d.temps == nil {
		d.temps = map[string]string{}
	}
	d.temps[dir] = temp
	return temp, nil
}

// canMove reports whether a file can be moved from one directory to another.
func canMove(from, to string) (bool, error) {
	at, err := makeEmpty(from)
	if err != nil {
		return false, err
	}
	moved := filepath.Join(to, filepath.Base(at))
	if os.Rename(at, moved) != nil {
		return false, os.Remove(at)
	}
	return true, os.Remove(moved)
}

// makeEmpty makes an empty file in dir, and returns its path.
func makeEmpty(dir string) (string, error) {
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// removeOld removes what earlier processes have left in dir, which is old by the clock of the file
// system. What cannot be removed, or has gone meanwhile, stays as it is: that is in nobody's way.
func removeOld(dir string) error {
	path, err := makeEmpty(dir)
	if err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err = errors.Join(err, os.Remove(path)); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), tempPrefix) {
			continue
		}
		info, err := entry.Info()
		if err != nil || now.ModTime().Sub(info.ModTime()) < tempAge { // it may just have got its name
			continue
		}
		_ = os.Remove(filepath.Join(dir, entry.Name()))
	}
	return nil
}
