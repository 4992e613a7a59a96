// Package unfinished remembers uploads that a process has begun, so that the next one can go on
// with them: where the registry wants the rest, and the state of the hash on the way there.
//
// There is one file an upload, which is written by rename. It is for its owner alone, since the
// location of an upload is a secret. What is older than a day is removed, and so is what is
// damaged.
package unfinished

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/sparsecopy/sparsecopy/internal/regular"
)

const (
	schema = "sparsecopy.unfinished/v1"
	// lasts is how long an upload is remembered: registries remove their part after some days.
	lasts = 24 * time.Hour
	// maxPoints is how many points of one upload are remembered, the last ones.
	maxPoints = 64
	// maxBytes is how large a file may be. One that is larger is not ours.
	maxBytes = 1 << 20
	// prefix is that of the names of all files.
	prefix = "upload-"
)

// ErrBusy says that somebody else is at an upload, in this process or another one.
var ErrBusy = errors.New("another upload of the same blob is going on")

// A Directory has what is remembered. It may be used concurrently, also by several processes.
type Directory struct {
	path string
	now  func() time.Time
	open func() error
}

// New returns what is remembered in the directory at path, which is made when it is needed. now
// tells the time.
func New(path string, now func() time.Time) *Directory {
	d := &Directory{path: path, now: now}
	d.open = sync.OnceValue(func() error {
		if err := Make(path); err != nil {
			return err
		}
		d.clean()
		return nil
	})
	return d
}

// Make makes the directory at path unless it is there. It fails if somebody else may write there,
// who could choose where blobs are sent.
func Make(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := othersMay(info); err != nil {
		return fmt.Errorf("%s says where uploads go on: %w", path, err)
	}
	return nil
}

// A Key names an upload.
type Key struct {
	Registry   string        `json:"registry"` // HOST[:PORT]
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"` // of the blob
}

// A State says how an upload goes on.
type State struct {
	Location string  `json:"location"` // URL that the registry has named last
	Points   []Point `json:"points"`   // in order
}

// A Point is a place in a blob.
type Point struct {
	Offset int64  `json:"offset"` // bytes before it
	Hash   []byte `json:"hash"`   // state of the hash of these, as encoding.BinaryMarshaler writes it
}

// Before returns the last point at which no more than offset bytes have been read, the zero Point
// if there is none.
func (s State) Before(offset int64) (last Point) {
	for _, p := range s.Points {
		if p.Offset <= offset {
			last = p
		}
	}
	return last
}

// An Upload is one that nobody else is at, until Release. Its methods must not run concurrently.
type Upload struct {
	dir   *Directory
	key   Key
	path  string
	lock  *flock.Flock
	state *State // nil if nothing was remembered
}

// record is the content of a file.
type record struct {
	Schema string    `json:"schema"`
	Saved  time.Time `json:"saved"`
	Key
	State
}

// Take returns the upload that key names, whether or not anything is remembered of it. The error is
// ErrBusy if somebody else has it. The caller must Release it.
func (d *Directory) Take(key Key) (*Upload, error) {
	if err := d.open(); err != nil {
		return nil, err
	}
	u := &Upload{dir: d, key: key, path: filepath.Join(d.path, prefix+nameOf(key)+".json")}
	var err error
	if u.lock, err = tryLock(strings.TrimSuffix(u.path, ".json") + ".lock"); err != nil {
		return nil, err
	}
	if u.state, err = u.load(); err != nil {
		logrus.Debugf("The upload that %s remembers begins anew: %v", u.path, err)
		_ = os.Remove(u.path)
	}
	return u, nil
}

// tryLock locks a file that whoever has the lock may remove. The error is ErrBusy if somebody has.
func tryLock(path string) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, err
	}
	if locked {
		opened, err1 := lock.Stat()
		named, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(opened, named) {
			return lock, nil
		}
	}
	_ = lock.Close()
	return nil, ErrBusy
}

// nameOf is what the files of an upload are named after.
func nameOf(key Key) string {
	sum := sha256.Sum256([]byte(key.Registry + "\n" + key.Repository + "\n" + key.Digest.String()))
	return hex.EncodeToString(sum[:])
}

// load reads the file; nil if there is none. The error says why it is of no use.
func (u *Upload) load() (*State, error) {
	file, _, err := regular.Open(u.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := othersMayRead(info); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, err
	}
	age := u.dir.now().Sub(r.Saved)
	if len(content) > maxBytes || r.Schema != schema || r.Key != u.key || r.Location == "" || age < 0 || age >= lasts || !r.inOrder() {
		return nil, errors.New("it is too old, or something else")
	}
	return &r.State, nil
}

// inOrder reports whether the points are as Save writes them.
func (s State) inOrder() bool {
	last := int64(0)
	for _, p := range s.Points {
		if p.Offset <= last || len(p.Hash) == 0 {
			return false
		}
		last = p.Offset
	}
	return true
}

// State returns what is remembered, if anything is.
func (u *Upload) State() (State, bool) {
	if u.state == nil {
		return State{}, false
	}
	return *u.state, true
}

// Save remembers s, with its last 64 points, in place of what was remembered.
func (u *Upload) Save(s State) error {
	s.Points = s.Points[max(0, len(s.Points)-maxPoints):]
	content, err := json.Marshal(record{Schema: schema, Saved: u.dir.now().UTC(), Key: u.key, State: s})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(u.temp(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // that of nobody else, under the lock
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), u.path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	u.state = &s
	return nil
}

// Forget removes what is remembered.
func (u *Upload) Forget() {
	u.state = nil
	_ = os.Remove(u.path)
	_ = os.Remove(u.temp()) // of a process that was killed
}

// temp is the file that becomes the one of the upload once it is written.
func (u *Upload) temp() string { return strings.TrimSuffix(u.path, ".json") + ".tmp" }

// Release lets others take the upload.
func (u *Upload) Release() {
	if u.state == nil {
		_ = os.Remove(u.lock.Path())
	}
	_ = u.lock.Close()
}

// clean removes what is older than a day, but for what somebody is at.
func (d *Directory) clean() {
	entries, _ := os.ReadDir(d.path)
	for _, entry := range entries {
		path := filepath.Join(d.path, entry.Name())
		info, err := entry.Info()
		if err != nil || !strings.HasPrefix(entry.Name(), prefix) || !info.Mode().IsRegular() || d.now().Sub(info.ModTime()) < lasts {
			continue
		}
		switch filepath.Ext(path) {
		case ".tmp":
			_ = os.Remove(path)
		case ".json", ".lock":
			d.cleanUpload(strings.TrimSuffix(path, filepath.Ext(path)))
		}
	}
}

// cleanUpload removes the files whose paths begin with base, unless somebody has the upload.
func (d *Directory) cleanUpload(base string) {
	lock, err := tryLock(base + ".lock")
	if err != nil {
		return
	}
	if info, err := os.Stat(base + ".json"); err == nil && d.now().Sub(info.ModTime()) >= lasts {
		_ = os.Remove(base + ".json")
	}
	_ = os.Remove(lock.Path())
	_ = lock.Close()
}
