package blobdir

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Link makes file, a regular one, the blob by giving it one more name, and reports whether it has.
// verify, whose error is returned as it is, is called before the blob has that name.
//
// Link reports false, and has changed nothing, if the system refuses, and for files that are not
// this user's own, have other permissions than blobs are to have, but for those of the owner to
// write, or lie on another file system. Whoever writes to the file later writes to the blob.
func (d *Dir) Link(blob digest.Digest, file *os.File, verify func() error) (linked bool, err error) {
	if !mayLink(file) {
		return false, nil
	}
	path := d.Path(blob)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	temp, err := d.tempFor(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	name, err := makeEmpty(temp) // a name that nobody else has
	if err == nil {
		err = os.Remove(name)
	}
	if err != nil {
		return false, err
	}
	if link(file, name) != nil {
		return false, nil
	}
	defer func() { _ = os.Remove(name) }() // that of the blob counts
	if err := errors.Join(verify(), d.SyncFile(file)); err != nil {
		return false, err
	}
	err = os.Rename(name, path)
	return err == nil, err
}
