package mirrorcmd

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// A syncLock keeps other runs from everything that this one writes to: repositories, layouts and
// files. It is one lock, however much that is, on a file that is named at random, beside a claim
// that says what it is for; nobody has to open more files because a mirror is large.
type syncLock struct {
	lock  *flock.Flock
	claim string // path
}

// A claim is what a lock is for.
type claim struct {
	Holder string   `json:"holder"` // for people
	Keys   []string `json:"keys"`
}

// claimEnd is how names of claims end.
const claimEnd = ".claim"

// lockAll takes the lock for keys, which are sorted, or none of them: it waits for nobody but those
// who do the same at that moment. The lock ends with the process, however that ends.
func lockAll(env *environment, dir string, keys []string) (*syncLock, error) {
	if dir == "" {
		dir = defaultStateDir(env)
	}
	dir = filepath.Join(dir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for locks: %w", err)
	}
	gate := flock.New(filepath.Join(dir, "gate"), flock.SetPermissions(0o600))
	if err := gate.Lock(); err != nil {
		return nil, fmt.Errorf("locks in %s: %w", dir, err)
	}
	defer func() { _ = gate.Close() }() // it ends with the process at the latest
	if err := refuseClaimed(dir, keys); err != nil {
		return nil, err
	}
	l := lockAt(dir, rand.Text())
	if err := l.take(claim{describeHolder(env.now()), keys}); err != nil {
		l.release()
		return nil, fmt.Errorf("locks in %s: %w", dir, err)
	}
	return l, nil
}

func defaultStateDir(env *environment) string {
	if dir := env.getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "mirror")
	}
	if home := env.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "mirror")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("mirror-%d", os.Getuid()))
}

// describeHolder says who holds a lock, and since when.
func describeHolder(now time.Time) string {
	host, _ := os.Hostname()
	return fmt.Sprintf("process %d on %s, since %s", os.Getpid(), host, now.UTC().Format(time.RFC3339))
}

// refuseClaimed fails if another lock is for one of keys. Locks of processes that have ended are
// removed.
func refuseClaimed(dir string, keys []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("directory for locks: %w", err)
	}
	for _, entry := range entries {
		name, isClaim := strings.CutSuffix(entry.Name(), claimEnd)
		if !isClaim {
			continue
		}
		other := lockAt(dir, name)
		ended, err := other.lock.TryLock()
		if err != nil {
			return fmt.Errorf("locks in %s: %w", dir, err)
		}
		if ended {
			other.release()
			continue
		}
		if err := other.refuse(keys); err != nil {
			return err
		}
	}
	return nil
}

func lockAt(dir, name string) *syncLock {
	path := filepath.Join(dir, name)
	return &syncLock{flock.New(path+".lock", flock.SetPermissions(0o600)), path + claimEnd}
}

// take takes the lock. What claims nothing is not looked at: so the claim comes first.
func (l *syncLock) take(c claim) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.claim, text, 0o600); err != nil {
		return err
	}
	taken, err := l.lock.TryLock()
	if err == nil && !taken {
		err = errors.New("a lock that nobody knows is held")
	}
	return err
}

// refuse fails if the lock, which somebody holds, is for one of keys.
func (l *syncLock) refuse(keys []string) error {
	text, err := os.ReadFile(l.claim)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was given back just now
	}
	var c claim
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return fmt.Errorf("what another run is writing to, by %s: %w", l.claim, err)
	}
	for _, key := range c.Keys {
		if _, mine := slices.BinarySearch(keys, key); mine {
			return fmt.Errorf("another run is writing to %s (%s); wait until it has ended", key, c.Holder)
		}
	}
	return nil
}

// release gives the lock back. What cannot be removed is removed by the next run.
func (l *syncLock) release() {
	_ = os.Remove(l.claim)
	_ = l.lock.Close()
	_ = os.Remove(l.lock.Path())
}
