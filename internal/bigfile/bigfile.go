// Package bigfile makes temporary files for what may be large.
package bigfile

import (
	"errors"
	"os"
	"runtime"

	"go.podman.io/image/v5/types"
)

// A File is a temporary file.
type File struct {
	*os.File
	// nameless is set if the file is gone from its directory: nothing stays behind, whatever
	// happens to the process.
	nameless bool
}

// Create makes an empty file in the directory for big files of sys, which may be nil. Its name
// begins with prefix, where it has one.
func Create(sys *types.SystemContext, prefix string) (*File, error) {
	file, err := os.CreateTemp(directory(sys), prefix)
	if err != nil {
		return nil, err
	}
	return &File{file, os.Remove(file.Name()) == nil}, nil
}

// directory is where upstream keeps big temporary files, too: what is in the system's directory for
// temporary files may be held in memory.
func directory(sys *types.SystemContext) string {
	switch {
	case sys != nil && sys.BigFilesTemporaryDir != "":
		return sys.BigFilesTemporaryDir
	case runtime.GOOS == "windows":
		return os.TempDir()
	}
	return "/var/tmp"
}

// Close closes the file, and removes it.
func (f *File) Close() error {
	err := f.File.Close()
	if f.nameless {
		return err
	}
	return errors.Join(err, os.Remove(f.Name()))
}
