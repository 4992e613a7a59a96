// Package blobdir stores blobs as OCI image layouts have them: files named by their digests, each
// of which is there as a whole or not at all.
//
// It hashes nothing. Whoever writes a blob hands in a reader that fails instead of handing out the
// last bytes of what does not match the digest, as that of an endpoint.Opener does.
package blobdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// A Dir is a directory of blobs, ALGORITHM/ENCODED. Its methods may be called concurrently, and by
// several processes for the same directory. Digests must be valid.
type Dir struct {
	// Blobs is the directory. It need not exist before something is written.
	Blobs string
	// Temp is an existing directory for files that are not complete. What a process that was killed
	// leaves there is the caller's to remove. Where Blobs, or a directory there, is on another file
	// system, such files are in that, and what is a day old is removed.
	Temp string
	// Sync makes an open file or directory outlast a loss of power, as Fsync does; nil for what
	// need not.
	Sync func(*os.File) error
	// Begin makes the system begin with what Sync will wait for, for a part of a file, as BeginSync
	// does; nil for what is not synced.
	Begin func(f *os.File, offset, size int64)

	mu    sync.Mutex
	temps map[string]string // by directory, where files for it are made; guarded by mu
}

// Path is the file of a blob.
func (d *Dir) Path(blob digest.Digest) string {
	return filepath.Join(d.Blobs, blob.Algorithm().String(), blob.Encoded())
}

// Has reports whether a blob is there with its size; -1 is any. A file that was cut short is not
// there.
func (d *Dir) Has(blob digest.Digest, size int64) (bool, error) {
	info, err := os.Stat(d.Path(blob))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Mode().IsRegular() && (size < 0 || info.Size() == size), nil
}

// Write makes content the blob, in place of what may be there. size is how long it must be, -1 if
// that is not known. On error nothing has changed; an error of content is returned as it is.
func (d *Dir) Write(blob digest.Digest, size int64, content io.Reader) error {
	return d.Fill(blob, func(f *os.File, written func(int64)) error {
		n, err := fill(f, content, written)
		if err == nil && size >= 0 && n != size {
			err = fmt.Errorf("the content has %d bytes, want %d", n, size)
		}
		return err
	})
}

// Fill makes the blob what write makes of an empty file, in place of what may be there. write tells
// written, now and then, how many bytes the file has from its start. On error nothing has changed;
// an error of write is returned as it is.
func (d *Dir) Fill(blob digest.Digest, write func(f *os.File, written func(int64)) error) error {
	path := d.Path(blob)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return d.replace(path, blobMode, func(f *os.File) error { return write(f, d.beginning(f)) })
}

// blobMode are the permissions of blobs: others read layouts, too.
const blobMode fs.FileMode = 0o644

// WriteFile makes content that of the file at path, which is on the file system of d, at once or
// not at all. A file that is there keeps its permissions.
func (d *Dir) WriteFile(path string, content []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	return d.replace(path, mode, func(f *os.File) error {
		_, err := f.Write(content)
		return err
	})
}

// replace makes the file at path one that write has written.
func (d *Dir) replace(path string, mode fs.FileMode, write func(*os.File) error) (err error) {
	temp, err := d.tempFor(filepath.Dir(path))
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(temp, tempPrefix+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // err is what matters, and what stays is removed later
		}
	}()
	if err := errors.Join(d.complete(f, mode, write), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// complete gives f, which is new, all that it is to have.
func (d *Dir) complete(f *os.File, mode fs.FileMode, write func(*os.File) error) error {
	if err := write(f); err != nil {
		return err
	}
	if runtime.GOOS != "windows" { // which knows no such permissions
		if err := f.Chmod(mode); err != nil {
			return err
		}
	}
	return d.SyncFile(f)
}

// SyncNames makes sure that the names of the blobs outlast a loss of power, as their content does.
// It is called once all are written, before anything that refers to them.
func (d *Dir) SyncNames() error {
	if d.Sync == nil {
		return nil
	}
	algorithms, err := os.ReadDir(d.Blobs)
	if err != nil {
		return err
	}
	for _, entry := range algorithms {
		if !digest.Algorithm(entry.Name()).Available() {
			continue
		}
		path := filepath.Join(d.Blobs, entry.Name())
		if info, err := os.Stat(path); err != nil || !info.IsDir() { // a link to one is one
			continue
		}
		if err := d.SyncDirectory(path); err != nil {
			return err
		}
	}
	return d.SyncDirectory(d.Blobs)
}

// SyncDirectory makes sure that the names in a directory outlast a loss of power. Windows has no
// such thing, nor any need.
func (d *Dir) SyncDirectory(path string) error {
	if d.Sync == nil || runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.SyncFile(dir), dir.Close())
}

// SyncFile makes sure that a file outlasts a loss of power.
func (d *Dir) SyncFile(f *os.File) error {
	if d.Sync == nil {
		return nil
	}
	return d.Sync(f)
}

// Fsync asks the system to put what it has of f on the disk, and waits for that. File systems that
// cannot do it, as some of the network cannot, do what they can: that is no error.
func Fsync(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

// Of what is written at once: at least so much, but for the end, so that small reads do not cost a
// call of the system each, and at most what is read in one go. What waits for more leaves the
// processor's cache between the hash and the file, which takes half as much of its time again.
const (
	enough     = 64 << 10
	bufferSize = 256 << 10
)

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// part is how much of a file is written before the system begins to put that on the disk: while
// more comes, and not when all is there.
const part = 8 << 20

// beginning returns what is told how much of f is written, and has the system begin with that.
func (d *Dir) beginning(f *os.File) func(written int64) {
	begun := int64(0) // where the part ends that the system has begun with last
	return func(written int64) {
		if d.Begin != nil && written-begun >= part {
			d.Begin(f, begun, written-begun)
			begun = written
		}
	}
}

// fill writes content to f, which is empty, in large pieces, tells how much that is so far, and
// returns how much it was.
func fill(f *os.File, content io.Reader, tell func(written int64)) (written int64, err error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		n, err := readEnough(content, buffer[:])
		if n > 0 {
			if _, err := f.Write(buffer[:n]); err != nil {
				return written, err
			}
			written += int64(n)
			tell(written)
		}
		if err == io.EOF { //nolint:errorlint // what wraps it is a failure
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// readEnough reads into p until that is enough or content ends, and returns the error of content as
// it is.
func readEnough(content io.Reader, p []byte) (n int, err error) {
	for n < enough && err == nil {
		var more int
		more, err = content.Read(p[n:])
		n += more
	}
	return n, err
}
