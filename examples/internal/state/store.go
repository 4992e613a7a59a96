package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gofrs/flock"
)

// ErrLocked says that another process has the state open.
var ErrLocked = errors.New("another process uses it")

// A Store is a state in a file. Its methods are safe for concurrent use.
//
// What Put and Delete change is written when Flush is called, or a thousand changes wait: a process
// that is killed loses the last ones and nothing else.
type Store struct {
	lock *flock.Flock

	mu      sync.Mutex
	file    *file             // nil once the Store is closed
	pending map[string]*Image // by destination, nil for what is to be removed
	most    int               // how many changes wait before they are written
}

// maxPending is how many changes wait to be written at most, as long as they can be written.
const maxPending = 1000

// Open opens the state in a file, which is made if it is not there. Nobody but its user may read
// it; a file "PATH.lock" beside it stays.
//
// A file that is damaged, that a newer version has written, or that is something else, is renamed
// to "PATH.aside", and the state begins anew: warning says so then. The error is ErrLocked if
// another process has the state open.
func Open(path string) (store *Store, warning string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", err
	}
	lock, err := takeLock(path)
	if err != nil {
		return nil, "", err
	}
	f, err := openFile(path, toWrite)
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		aside := path + ".aside"
		if err := os.Rename(path, aside); err != nil {
			return nil, "", errors.Join(fmt.Errorf("state %s %w, and cannot be set aside: %w", path, unusable, err), lock.Close())
		}
		warning = fmt.Sprintf("state %s %v: it is %s now, and a new one begins", path, unusable, aside)
		f, err = openFile(path, toWrite)
	}
	if err != nil {
		return nil, "", errors.Join(err, lock.Close())
	}
	return &Store{lock: lock, file: f, pending: map[string]*Image{}, most: maxPending}, warning, nil
}

// Read returns the images of the state in a file, by destination, without changing anything. The
// error is fs.ErrNotExist if there is no such file, and ErrLocked if another process has it open.
func Read(path string) ([]Image, error) {
	f, err := openFile(path, toRead)
	if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
		return nil, fmt.Errorf("state %s %w", path, err)
	}
	if err != nil {
		return nil, err
	}
	images, err := f.all()
	return images, errors.Join(err, f.close())
}

// takeLock takes the lock that a Store holds. It is on a file of its own, so that it holds while a
// damaged state is replaced.
func takeLock(path string) (*flock.Flock, error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	taken, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock of state %s: %w", path, err)
	case !taken:
		return nil, fmt.Errorf("state %s: %w", path, ErrLocked)
	}
	return lock, nil
}

// errClosed says that a Store is used after Close.
var errClosed = errors.New("the state is closed")

// Get returns what is known of an image. ok is unset if nothing is.
func (s *Store) Get(destination string) (image Image, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(destination)
}

// get is Get for whoever holds mu.
func (s *Store) get(destination string) (image Image, ok bool, err error) {
	if s.file == nil {
		return Image{}, false, errClosed
	}
	if changed, pending := s.pending[destination]; pending {
		if changed == nil {
			return Image{}, false, nil
		}
		return *changed, true, nil
	}
	return s.file.get(destination)
}

// All returns the images, sorted by destination.
func (s *Store) All() ([]Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil, errClosed
	}
	stored, err := s.file.all()
	if err != nil {
		return nil, err
	}
	images := slices.DeleteFunc(stored, func(i Image) bool { _, changed := s.pending[i.Destination]; return changed })
	for _, changed := range s.pending {
		if changed != nil {
			images = append(images, *changed)
		}
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Destination, b.Destination) })
	return images, nil
}

// Names returns the destinations of all images, in no order. It reads nothing else of them.
func (s *Store) Names() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil, errClosed
	}
	stored, err := s.file.names()
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(stored, func(name string) bool { _, changed := s.pending[name]; return changed })
	for name, changed := range s.pending {
		if changed != nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// Put replaces what is known of image.Destination. What the image refers to must not change
// afterwards.
func (s *Store) Put(image Image) error { return s.change(image.Destination, &image) }

// Update replaces what is known of an image by what f makes of it; nothing else changes it
// meanwhile. ok is as Get has it. The Store must not be used in f.
func (s *Store) Update(destination string, f func(known Image, ok bool) Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok, err := s.get(destination)
	if err != nil {
		return err
	}
	image := f(known, ok)
	return s.set(destination, &image)
}

// Delete forgets an image.
func (s *Store) Delete(destination string) error { return s.change(destination, nil) }

func (s *Store) change(destination string, image *Image) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(destination, image)
}

// set is Put and Delete for whoever holds mu. What cannot be written is tried again when twice as
// much waits, so that a full disk does not make each change as dear as all before it.
func (s *Store) set(destination string, image *Image) error {
	if s.file == nil {
		return errClosed
	}
	s.pending[destination] = image
	if len(s.pending) < s.most {
		return nil
	}
	return s.flush()
}

// Flush writes what has changed, and returns when it would survive a crash of the machine. After an
// error, the changes are kept in memory, and the next call tries to write them again.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flush()
}

// flush is Flush for whoever holds mu.
func (s *Store) flush() error {
	if s.file == nil {
		return errClosed
	}
	if len(s.pending) == 0 {
		return nil
	}
	if err := s.file.write(s.pending); err != nil {
		s.most = max(maxPending, 2*len(s.pending))
		return err
	}
	clear(s.pending)
	s.most = maxPending
	return nil
}

// Close writes what has changed and closes the file. The Store cannot be used afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.flush(), s.file.close())
	s.file = nil
	return errors.Join(err, s.lock.Close())
}
