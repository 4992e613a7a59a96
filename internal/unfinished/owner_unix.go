//go:build unix

package unfinished

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// othersMay fails if others than who runs the process may write to the file or directory that info
// is of.
func othersMay(info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return errors.New("it belongs to somebody else (take one of your own)")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return errors.New("others may write to it (chmod go-w)")
	}
	return nil
}

// othersMayRead fails if others than who runs the process may read the file that info is of, or
// write to it.
func othersMayRead(info fs.FileInfo) error {
	if err := othersMay(info); err != nil {
		return err
	}
	if info.Mode().Perm()&0o044 != 0 {
		return errors.New("others may read it")
	}
	return nil
}
