package cache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

const (
	// ours is the directory in the one that the caller names which has all files: others may use
	// that, too. Files of a form that readers of this one would misread get another number.
	ours = "documents-v1"
	// unfinished is what the names of files begin with that are being written.
	unfinished = "unfinished-"
	// abandoned is after which time the writer of such a file has died.
	abandoned = time.Hour
	// noticed is how old the last use of a file must be for the next one to be noted.
	noticed = time.Hour
	// pieces is into how many pieces the bound is cut: files are counted about once for each that
	// is added, by whatever process.
	pieces = 16
	// maxFile is how large a file may be: nothing that is kept is larger.
	maxFile = 4 << 20
)

// Directory returns a cache in the directory at path, which is made if it is not there, and keeps
// about maxBytes at most; DefaultDirectory if that is not positive. What was not used for the
// longest time goes first. Several processes may share a directory.
//
// Its files are for their owner alone. Each appears at once, with all of its content, or not at
// all. The error says that the directory cannot be used.
func Directory(path string, maxBytes int64) (endpoint.DocumentCache, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("the cache's directory: %w", err)
	}
	d := &directory{path: filepath.Join(path, ours), most: orDefault(maxBytes, DefaultDirectory)}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("making the cache's directory: %w", err)
	}
	probe, err := os.CreateTemp(d.path, unfinished)
	if err != nil {
		return nil, fmt.Errorf("the cache's directory cannot be written to: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("the cache's directory: %w", err)
	}
	return d, nil
}

type directory struct {
	path     string
	most     int64
	clearing sync.Mutex // held while files are counted
}

// file is where the content of key is, whatever characters key has.
func (d *directory) file(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:])
	return filepath.Join(d.path, name[:2], name[2:])
}

func (d *directory) Get(key string) []byte {
	path := d.file(key)
	content, used, err := read(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			logrus.Debugf("Cache: %v", err)
		}
		return nil
	}
	if now := clock.System.Now(); now.Sub(used) > noticed {
		_ = os.Chtimes(path, now, now) // else it goes sooner
	}
	return content
}

// read returns the content of a file, and when it was used last.
func read(path string) (content []byte, used time.Time, err error) {
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, used, err
	case !info.Mode().IsRegular(), info.Size() > maxFile: // opening a pipe would wait
		return nil, used, fmt.Errorf("%s is not a file of this cache", path)
	}
	content, err = os.ReadFile(path)
	return content, info.ModTime(), err
}

func (d *directory) Put(key string, content []byte) {
	if len(content) > maxFile {
		return
	}
	path := d.file(key)
	if err := write(path, content); err != nil {
		logrus.Debugf("Cache: %v", err)
		return
	}
	if rand.N(max(d.most/pieces, 1)) < int64(len(content)) && d.clearing.TryLock() {
		defer d.clearing.Unlock()
		d.clear()
	}
}

// write makes content that of a file, at once.
func write(path string, content []byte) error {
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, unfinished)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		file, err = os.CreateTemp(dir, unfinished)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

func (d *directory) Remove(key string) {
	if err := os.Remove(d.file(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		logrus.Debugf("Cache: %v", err)
	}
}

// clear removes what was not used for the longest time if there is little room left: an eighth of
// the bound. It leaves room of twice that.
func (d *directory) clear() {
	files := d.files()
	var bytes int64
	for _, f := range files {
		bytes += f.size
	}
	if bytes <= d.most/8*7 {
		return
	}
	slices.SortFunc(files, func(a, b kept) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.path, b.path)) })
	for _, f := range files {
		if bytes <= d.most/8*6 {
			return
		}
		if err := os.Remove(f.path); err == nil || errors.Is(err, fs.ErrNotExist) {
			bytes -= f.size
		}
	}
}

// kept is a file of the cache.
type kept struct {
	path string
	size int64
	used time.Time
}

// files returns all files, and removes those that nobody will finish.
func (d *directory) files() []kept {
	var all []kept
	now := clock.System.Now()
	err := filepath.WalkDir(d.path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			all = append(all, finished(path, entry, now)...)
		}
		return nil // another process may remove files
	})
	if err != nil {
		logrus.Debugf("Cache: %v", err)
	}
	return all
}

// finished returns a file unless it is being written. It removes one that nobody will finish.
func finished(path string, entry fs.DirEntry, now time.Time) []kept {
	info, err := entry.Info()
	switch {
	case err != nil: // it is gone
	case !strings.HasPrefix(entry.Name(), unfinished):
		return []kept{{path, info.Size(), info.ModTime()}}
	case now.Sub(info.ModTime()) > abandoned:
		_ = os.Remove(path) // else the next one does
	}
	return nil
}
