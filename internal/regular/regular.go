// Package regular opens regular files whose names, or whose directories, come from somewhere else,
// and tells which files in archives are such.
package regular

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Open opens the regular file at path for reading, and returns how many bytes it has. Links are
// followed: build tools make whole trees of them. What is something else in the end, such as a
// pipe, a device or a directory, is an error, and is not waited for. The error wraps fs.ErrNotExist
// if nothing is there.
func Open(path string) (_ *os.File, size int64, err error) {
	before, err := os.Stat(path) // opening a pipe waits for its writer
	if err != nil {
		return nil, 0, err
	}
	if err := check(path, before); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil {
		err = check(path, info)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func check(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return fmt.Errorf("%s is no regular file (%s)", path, info.Mode())
}

// HasHoles reports whether a file is more than what the archive has of it (GNU tar, "Storing Sparse
// Files"): of any size, whatever that of the archive.
func HasHoles(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return header.Typeflag == tar.TypeGNUSparse
}
