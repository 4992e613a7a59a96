package remembered

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/bounded"
	"github.com/sparsecopy/sparsecopy/internal/turns"
)

// Names of files in the directory. A form of the file that readers of this one would misread gets
// another number, here and in schema.
const (
	fileName   = "sparsecopy-transformed-v1.jsonl"
	lockName   = "sparsecopy-transformed-v1.lock"
	unfinished = ".sparsecopy-transformed-*.tmp"
	schema     = "sparsecopy.transformed/v1"
)

const (
	// maxBytes is how large the file may be: some 30,000 results. One that is larger is not ours.
	maxBytes = 16 << 20
	// maxKept is how much of a file that has become too large stays: the newest of it.
	maxKept = maxBytes / 4 * 3
	// maxHeader is how long the first line may be.
	maxHeader = 256
	// maxWait is how long another process may write.
	maxWait = 10 * time.Second
)

// Files are those that a program uses. The zero value works; it may be used concurrently and must
// not be copied.
type Files struct {
	mu    sync.Mutex
	files map[string]*File // by directory; guarded by mu
}

// maxFiles is how many files a program keeps in memory.
const maxFiles = 8

// In returns the file in a directory, which need not exist.
func (f *Files) In(dir string) *File {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bounded.GetOrAdd(&f.files, dir, maxFiles, func() *File { return &File{dir: dir, maxBytes: maxBytes, maxKept: maxKept} })
}

// A File has what is remembered in one directory. It may be used concurrently, also by several
// processes.
type File struct {
	dir               string
	maxBytes, maxKept int64

	writing turns.Turn
	mu      sync.Mutex
	read    contents // guarded by mu
}

// contents are what was read of a file. The zero value is that of none.
type contents struct {
	header  string // its first line; "" for a file that is not ours
	offset  int64  // where the lines end that were read
	garbage bool   // some of them were none
	results map[scope]map[digest.Digest]Result
}

// A scope is what many keys have in common.
type scope struct{ repository, transformation string }

// Results returns what is remembered of keys. The error says why nothing could be read; that there
// is no file is none.
func (f *File) Results(keys []Key) (map[Key]Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		return nil, err
	}
	found := map[Key]Result{}
	for _, key := range keys {
		if result, ok := f.read.result(key); ok {
			found[key] = result
		}
	}
	return found, nil
}

// Knows reports whether anything is remembered of a transformation for a repository.
func (f *File) Knows(repository, transformation string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refresh() == nil && len(f.read.results[scope{repository, transformation}]) > 0
}

// Remember notes results, in place of others of the same keys. It makes the directory if need be,
// and waits for others who write, for ten seconds at most. What is known already is left alone.
func (f *File) Remember(ctx context.Context, results map[Key]Result) error {
	if _, lines, err := f.unknown(results); err == nil && len(lines) == 0 {
		return nil
	}
	done, err := f.writing.Take(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	read, lines, err := f.unknown(results) // which another process may have noted
	if err != nil || len(lines) == 0 {
		return err
	}
	if read.header == "" || read.garbage || read.offset+int64(len(lines)) > f.maxBytes {
		return f.replace(read, lines)
	}
	return f.add(read, lines)
}

// lock waits until no other process writes.
func (f *File) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxWait, errors.New("another process does not stop writing"))
	defer cancel()
	lock := flock.New(filepath.Join(f.dir, lockName), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("locking %s: %w", lock.Path(), err)
	}
	return func() { _ = lock.Close() }, nil
}

func (f *File) path() string { return filepath.Join(f.dir, fileName) }

// unknown returns the lines of those results that the file does not have, and what it has.
func (f *File) unknown(results map[Key]Result) (contents, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil {
		return contents{}, nil, err
	}
	var lines []byte
	for _, key := range slices.SortedFunc(maps.Keys(results), Key.compare) {
		if known, ok := f.read.result(key); ok && known == results[key] {
			continue
		}
		text, err := format(key, results[key])
		if err != nil {
			return contents{}, nil, err
		}
		lines = append(append(lines, text...), '\n')
	}
	return f.read, lines, nil
}

// add writes lines to the end of the file, which has what was read of it and maybe the half of a
// line.
func (f *File) add(read contents, lines []byte) error {
	file, err := os.OpenFile(f.path(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if info, err := file.Stat(); err == nil && info.Size() > read.offset {
		lines = append([]byte{'\n'}, lines...)
	}
	_, err = file.Write(lines)
	return errors.Join(err, file.Close())
}

// replace puts a new file in the place of this one, of which read was read, with the newest lines
// that it has, and lines after them.
func (f *File) replace(read contents, lines []byte) error {
	text, err := json.Marshal(firstLine{schema, rand.Text()})
	if err != nil {
		return err
	}
	all := append(text, '\n')
	if read.header != "" {
		before, err := os.ReadFile(f.path())
		if err != nil {
			return err
		}
		lines = slices.Concat(before, []byte{'\n'}, lines)
	}
	return f.write(append(all, newest(lines, f.maxKept)...))
}

// write makes text the file's, at once. What is unfinished is of writers that died: nobody else has
// the lock.
func (f *File) write(text []byte) (err error) {
	left, err := filepath.Glob(filepath.Join(f.dir, unfinished))
	for _, path := range left {
		err = errors.Join(err, os.Remove(path))
	}
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.dir, unfinished)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path())
	}
	if err != nil {
		err = errors.Join(err, os.Remove(file.Name()))
	}
	return err
}

// newest returns the last lines of text that have no more than most bytes, without what is no line
// of a result, and of those with the same key only the last.
func newest(text []byte, most int64) []byte {
	seen := map[Key]bool{}
	var kept [][]byte
	for _, line := range slices.Backward(bytes.SplitAfter(text, []byte{'\n'})) {
		key, _, ok := parse(line)
		if !ok || seen[key] {
			continue
		}
		if most -= int64(len(line)); most < 0 {
			break
		}
		seen[key] = true
		kept = append(kept, line)
	}
	slices.Reverse(kept)
	return slices.Concat(kept...)
}

// refresh reads what the file has by now and had not when it was read before. f.mu must be held.
func (f *File) refresh() error {
	file, size, err := f.open()
	if err != nil || file == nil {
		f.read = contents{}
		return err
	}
	defer file.Close()
	first := make([]byte, maxHeader)
	n, err := file.ReadAt(first, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	header, length := cutHeader(first[:n])
	if size > f.maxBytes {
		header = ""
	}
	if header != f.read.header || size < f.read.offset {
		f.read = contents{header: header, offset: int64(length), results: map[scope]map[digest.Digest]Result{}}
	}
	if header == "" {
		return nil
	}
	rest, err := io.ReadAll(io.NewSectionReader(file, f.read.offset, size-f.read.offset))
	f.read.learn(rest)
	return err
}

// open opens the file for reading and returns its size; nil if there is none.
func (f *File) open() (*os.File, int64, error) {
	info, err := os.Stat(f.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular(): // opening a pipe would wait
		return nil, 0, fmt.Errorf("%s is no file", f.path())
	}
	file, err := os.Open(f.path())
	if errors.Is(err, fs.ErrNotExist) { // since
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if info, err = file.Stat(); err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// A firstLine says what file it is the first line of. No two files have the same one.
type firstLine struct {
	Schema string `json:"schema"`
	File   string `json:"file"`
}

// cutHeader returns the first line of a file, without its end, and its length with that; "" if the
// file is not ours.
func cutHeader(text []byte) (header string, length int) {
	first, _, whole := bytes.Cut(text, []byte{'\n'})
	var said firstLine
	if !whole || json.Unmarshal(first, &said) != nil || said.Schema != schema || said.File == "" {
		return "", 0
	}
	return string(first), len(first) + 1
}

// learn takes in the whole lines at the beginning of text, which comes where c has been read to.
func (c *contents) learn(text []byte) {
	for {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			return
		}
		c.offset += int64(len(line)) + 1
		text = rest
		key, result, ok := parse(line)
		if !ok {
			c.garbage = true
			continue
		}
		in := scope{key.Repository, key.Transformation}
		if c.results[in] == nil {
			c.results[in] = map[digest.Digest]Result{}
		}
		c.results[in][key.Source] = result
	}
}

func (c *contents) result(key Key) (Result, bool) {
	result, ok := c.results[scope{key.Repository, key.Transformation}][key.Source]
	return result, ok
}
