package registrystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// OwnDirectory is the directory, below that of the storage, for what is not distribution's.
const OwnDirectory = ".sparse-registry"

const (
	lockFile   = "lock"
	holderFile = "holder" // says to people who has the lock; means nothing without it
)

// A Lock keeps every other process, and every other Lock of this one, from writing to a storage
// directory.
type Lock struct{ file *flock.Flock }

// A LockedError says that somebody else has the lock of a storage directory.
type LockedError struct {
	Storage string // the directory
	Holder  string // who has it, and since when; "" if that is not known
}

func (e *LockedError) Error() string {
	by := "another process"
	if e.Holder != "" {
		by = e.Holder
	}
	return fmt.Sprintf("storage %s is in use by %s: stop that first, or use another directory", e.Storage, by)
}

// TakeLock takes the lock of a storage directory, which exists, without waiting. program says what
// the lock is for. The error is a *LockedError if somebody else has it. The lock ends with the
// process, however that ends: what a killed one left behind is in nobody's way, nor is what root's
// left: it belongs to whom the directory does.
func TakeLock(storage, program string) (*Lock, error) {
	own := filepath.Join(storage, OwnDirectory)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, lockError(storage, err)
	}
	lock := &Lock{flock.New(filepath.Join(own, lockFile), flock.SetPermissions(0o600))}
	taken, err := lock.file.TryLock()
	if err != nil {
		return nil, lockError(storage, err)
	}
	if !taken {
		return nil, &LockedError{Storage: storage, Holder: Holder(storage)}
	}
	if err := os.WriteFile(filepath.Join(own, holderFile), []byte(describeHolder(program)), 0o600); err != nil {
		return nil, errors.Join(lockError(storage, err), lock.Release())
	}
	giveToOwner(storage, own, filepath.Join(own, lockFile), filepath.Join(own, holderFile))
	return lock, nil
}

// lockError says what could not be locked, and what to do if that is known.
func lockError(storage string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("locking storage %s: %w for user %d: all of the storage has to belong to the user of the server", storage, err, os.Geteuid())
	}
	return fmt.Errorf("locking storage %s: %w", storage, err)
}

// Release gives the lock back. A nil lock is none, and nothing is to be given back.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// Holder is what the holder of a storage directory's lock says of itself, or the last one has said:
// a text for people, that no two have in common. It is "" if nobody has said anything.
func Holder(storage string) string {
	text, _ := os.ReadFile(filepath.Join(storage, OwnDirectory, holderFile)) // only people miss it
	return strings.TrimSpace(string(text))
}

func describeHolder(program string) string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s (process %d on %s, since %s)\n",
		program, os.Getpid(), host, clock.System.Now().UTC().Format(time.RFC3339))
}
