package state

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// A file is a database with a document for each image, in JSON, by destination. It is not safe for
// concurrent use.
type file struct {
	path string
	db   *bolt.DB
}

// access is what a file is opened for.
type access bool

const (
	toWrite access = false
	toRead  access = true
)

// version is that of the documents. It changes when a reader of the old ones would go wrong.
const version = 1

var (
	metaBucket   = []byte("meta")
	versionKey   = []byte("version")
	imagesBucket = []byte("images")
)

// An unusableError says why a file cannot be used: it goes on after "state FILE".
type unusableError struct{ why string }

func (e *unusableError) Error() string { return e.why }

func unusablef(format string, args ...any) error { return &unusableError{fmt.Sprintf(format, args...)} }

// openFile opens a database, and reads all of it: afterwards, nothing in it is damaged. The error
// is an *unusableError if something is, or if another version has written it.
func openFile(path string, to access) (*file, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("state %s is no file", path)
	}
	f := &file{path: path}
	opened, err := f.open(to)
	if err == nil {
		err = guarded(func() error { return f.check(opened, to) })
	}
	switch {
	case err == nil:
		return f, nil
	case f.db != nil:
		_ = guarded(f.db.Close)
	case opened != nil:
		_ = opened.Close() // gives the lock back, too
	}
	return nil, err
}

// open opens the database. If it cannot be used, opened may be left open.
func (f *file) open(to access) (opened *os.File, err error) {
	err = guarded(func() (err error) {
		f.db, err = bolt.Open(f.path, 0o600, &bolt.Options{
			ReadOnly: bool(to), Timeout: 1, NoStatistics: true,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				opened, err = os.OpenFile(name, flag, mode)
				return opened, err
			},
		})
		return err
	})
	var (
		unusable *unusableError
		refused  *fs.PathError // by the file system
	)
	switch {
	case err == nil, errors.As(err, &unusable):
		return opened, err
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("state %s: %w", f.path, ErrLocked)
	case errors.As(err, &refused):
		return nil, err
	}
	return nil, unusablef("is damaged, or no state: %v", err) // bolt has closed it
}

// guarded calls f, which reads a file that may be damaged: a panic, and a page that is not there,
// are an *unusableError.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = unusablef("is damaged: %v", r)
		}
	}()
	return f()
}

// check reads all that there is, and makes what has to be there in a new file.
func (f *file) check(opened *os.File, to access) error {
	info, err := opened.Stat()
	if err != nil {
		return err
	}
	empty := false
	err = f.db.View(func(tx *bolt.Tx) error {
		if tx.Size() > info.Size() {
			return unusablef("is damaged: %d bytes are missing", tx.Size()-info.Size())
		}
		if empty = tx.Bucket(metaBucket) == nil && tx.Bucket(imagesBucket) == nil; empty {
			return nil
		}
		return checkAll(tx)
	})
	if err != nil || to == toRead {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := opened.Chmod(0o600); err != nil {
			return err
		}
	}
	if !empty {
		return nil
	}
	return f.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(imagesBucket); err != nil {
			return err
		}
		return meta.Put(versionKey, strconv.AppendInt(nil, version, 10))
	})
}

// checkAll checks the version, and each document.
func checkAll(tx *bolt.Tx) error {
	meta, images := tx.Bucket(metaBucket), tx.Bucket(imagesBucket)
	if meta == nil || images == nil {
		return unusablef("is no state of mirror")
	}
	switch written, err := strconv.Atoi(string(meta.Get(versionKey))); {
	case err != nil:
		return unusablef("is damaged: its version is %q", meta.Get(versionKey))
	case written != version:
		return unusablef("is of version %d, and this program knows version %d", written, version)
	}
	return images.ForEach(func(destination, value []byte) error {
		if !bytes.Equal(images.Get(destination), value) {
			return unusablef("is damaged: %q is not where it is looked for", destination)
		}
		_, err := document(destination, value)
		return err
	})
}

// checksums tell whether a document is what was written.
var checksums = crc32.MakeTable(crc32.Castagnoli)

const checksumSize = crc32.Size

// document returns the JSON in a value, if it is what was written for this destination.
func document(destination, value []byte) ([]byte, error) {
	if len(value) < checksumSize || binary.BigEndian.Uint32(value) != sum(destination, value[checksumSize:]) {
		return nil, unusablef("is damaged: what it says of %q", destination)
	}
	return value[checksumSize:], nil
}

func sum(destination, document []byte) uint32 {
	return crc32.Update(crc32.Checksum(destination, checksums), checksums, document)
}

func decode(destination, value []byte) (image Image, err error) {
	text, err := document(destination, value)
	if err == nil {
		err = json.Unmarshal(text, &image)
	}
	return image, err
}

// get returns an image, if there is one.
func (f *file) get(destination string) (image Image, ok bool, err error) {
	err = f.view(func(images *bolt.Bucket) (err error) {
		key := []byte(destination)
		if value := images.Get(key); value != nil {
			ok = true
			image, err = decode(key, value)
		}
		return err
	})
	return image, ok && err == nil, err
}

// all returns the images, by destination.
func (f *file) all() (all []Image, err error) {
	err = f.view(func(images *bolt.Bucket) error {
		return images.ForEach(func(destination, value []byte) error {
			image, err := decode(destination, value)
			all = append(all, image)
			return err
		})
	})
	return all, err
}

// view calls read with the images; in an empty file that is read only, there are none.
func (f *file) view(read func(images *bolt.Bucket) error) error {
	err := guarded(func() error {
		return f.db.View(func(tx *bolt.Tx) error {
			if images := tx.Bucket(imagesBucket); images != nil {
				return read(images)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("state %s: %w", f.path, err)
	}
	return nil
}

// write makes all changes, or none: nil stands for an image that goes.
func (f *file) write(changes map[string]*Image) error {
	err := guarded(func() error {
		return f.db.Update(func(tx *bolt.Tx) error {
			images := tx.Bucket(imagesBucket)
			for destination, image := range changes {
				if err := put(images, []byte(destination), image); err != nil {
					return fmt.Errorf("%s: %w", destination, err)
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("writing state %s: %w", f.path, err)
	}
	return nil
}

func put(images *bolt.Bucket, destination []byte, image *Image) error {
	if image == nil {
		return images.Delete(destination)
	}
	text, err := json.Marshal(image)
	if err != nil {
		return err
	}
	value := binary.BigEndian.AppendUint32(make([]byte, 0, checksumSize+len(text)), sum(destination, text))
	return images.Put(destination, append(value, text...))
}

func (f *file) close() error { return guarded(f.db.Close) }
