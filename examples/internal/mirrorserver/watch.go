package mirrorserver

import (
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"slices"
)

// A Watch notices that files have other contents than before. It reads them, whatever their times
// say: a file may be replaced twice within a moment, and by an older one. It must not be used
// concurrently.
type Watch struct {
	paths []string
	seen  map[string]contents
}

// contents are those of a file.
type contents struct {
	sum [sha256.Size]byte
	err string // why it cannot be read, "" if it can
}

// maxWatched is how much of a file is looked at.
const maxWatched = 64 << 20

// NewWatch looks at files, from which Changed tells the difference.
func NewWatch(paths ...string) *Watch {
	w := &Watch{}
	w.Set(paths...)
	return w
}

// Set says which files are looked at from now on. Those that were before have changed since Changed
// was called, and others since now.
func (w *Watch) Set(paths ...string) {
	seen := map[string]contents{}
	for _, path := range paths {
		before, known := w.seen[path]
		if !known {
			before = contentsOf(path)
		}
		seen[path] = before
	}
	w.paths, w.seen = slices.Sorted(maps.Keys(seen)), seen
}

// Changed reports whether any file has changed since it was called last. Files that cannot be read
// have changed if they could be read before.
func (w *Watch) Changed() bool {
	now := map[string]contents{}
	for _, path := range w.paths {
		now[path] = contentsOf(path)
	}
	changed := !maps.Equal(now, w.seen)
	w.seen = now
	return changed
}

// contentsOf reads a file. It does not wait for what is none, such as a pipe.
func contentsOf(path string) (c contents) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return contents{err: path + " is no regular file"}
	}
	file, err := os.Open(path)
	if err != nil {
		return contents{err: err.Error()}
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, maxWatched)); err != nil {
		return contents{err: err.Error()}
	}
	hash.Sum(c.sum[:0])
	return c
}
