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

// purpose is what a file is opened for.
type purpose int

const (
	toRead purpose = iota
	toWrite
)

// version is that of the documents. It changes when a reader of the old ones would go wrong.
const version = 1

var (
	metaBucket   = []byte("meta")
	versionKey   = []byte("version")
	imagesBucket = []byte("images")
	countKey     = []byte("count") // of images; a file that only older programs have written has none
)

// An unusableError says why a file cannot be used: it goes on after "state FILE".
type unusableError struct{ why string }

func (e *unusableError) Error() string { return e.why }

func unusablef(format string, args ...any) error { return &unusableError{fmt.Sprintf(format, args...)} }

// openFile opens a database, and reads all of it: afterwards, nothing in it is damaged. The error
// is an *unusableError if something is, or if another version has written it.
func openFile(path string, to purpose) (*file, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil && (to == toRead || !errors.Is(err, fs.ErrNotExist)):
		return nil, err
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("state %s is no file", path)
	case err == nil && info.Size() == 0 && to == toRead:
		return nil, unusablef("is empty")
	case err == nil && info.Size() > 0:
		f, err := openChecked(path)
		if err != nil || to == toRead {
			return f, err
		}
		if err := f.close(); err != nil {
			return nil, err
		}
	}
	return openToWrite(path)
}

// openChecked opens what is there, to read it only, and checks it.
func openChecked(path string) (*file, error) {
	f := &file{path: path}
	if err := f.open(&bolt.Options{ReadOnly: true}); err != nil { // reads the heads only
		return nil, err
	}
	err := checkStructure(path)
	if err == nil {
		err = guarded(func() error { return f.db.View(checkDocuments) })
	}
	if err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// openToWrite opens what is checked, or new.
func openToWrite(path string) (*file, error) {
	f := &file{path: path}
	if err := f.open(&bolt.Options{}); err != nil {
		return nil, err
	}
	err := os.Chmod(path, 0o600) // which may be older than this rule
	if err == nil {
		err = f.db.Update(makeBuckets)
	}
	if err != nil {
		_ = f.close()
		return nil, err
	}
	return f, nil
}

// open opens the database, as soon as nobody else has it open: it does not wait.
func (f *file) open(options *bolt.Options) (err error) {
	options.Timeout, options.NoStatistics = 1, true
	f.db, err = bolt.Open(f.path, 0o600, options)
	var refused *fs.PathError // by the file system
	switch {
	case err == nil, errors.As(err, &refused):
		return err
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("state %s: %w", f.path, ErrLocked)
	}
	return unusablef("is damaged, or no state: %v", err)
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

// makeBuckets makes what has to be there, if it is not.
func makeBuckets(tx *bolt.Tx) error {
	if tx.Bucket(metaBucket) != nil {
		return nil
	}
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(imagesBucket); err != nil {
		return err
	}
	return meta.Put(versionKey, strconv.AppendInt(nil, version, 10))
}

// checkDocuments checks the version, and each document. A database that was begun and not finished
// has neither.
func checkDocuments(tx *bolt.Tx) error {
	meta, images := tx.Bucket(metaBucket), tx.Bucket(imagesBucket)
	switch {
	case meta == nil && images == nil:
		return nil
	case meta == nil || images == nil:
		return unusablef("is no state of mirror")
	}
	switch written, err := strconv.Atoi(string(meta.Get(versionKey))); {
	case err != nil:
		return unusablef("is damaged: its version is %q", meta.Get(versionKey))
	case written != version:
		return unusablef("is of version %d, and this program knows version %d", written, version)
	}
	found := 0
	err := images.ForEach(func(destination, value []byte) error {
		found++
		if !bytes.Equal(images.Get(destination), value) {
			return unusablef("is damaged: %q is not where it is looked for", destination)
		}
		_, err := document(destination, value)
		return err
	})
	if count := meta.Get(countKey); err == nil && count != nil && string(count) != strconv.Itoa(found) {
		return unusablef("is damaged: it has %d of %q images", found, count)
	}
	return err
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

// names returns the destinations, sorted.
func (f *file) names() (names []string, err error) {
	err = f.view(func(images *bolt.Bucket) error {
		return images.ForEach(func(destination, _ []byte) error {
			names = append(names, string(destination))
			return nil
		})
	})
	return names, err
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
			return writeCount(tx.Bucket(metaBucket), images)
		})
	})
	if err != nil {
		return fmt.Errorf("writing state %s: %w", f.path, err)
	}
	return nil
}

// writeCount writes how many images there are: pages have no checksum, and one that counts too few
// documents has all of those that it counts.
func writeCount(meta, images *bolt.Bucket) error {
	count := 0
	err := images.ForEach(func(_, _ []byte) error {
		count++
		return nil
	})
	return errors.Join(err, meta.Put(countKey, strconv.AppendInt(nil, int64(count), 10)))
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
