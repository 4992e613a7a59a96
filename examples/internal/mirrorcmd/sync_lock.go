package mirrorcmd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// syncLocks are the locks that a run holds: one for each repository, layout or file that it writes
// to.
type syncLocks []*flock.Flock

// lockAll takes the locks for keys, which are sorted, or none of them: it does not wait. A lock is
// on a file that stays, and ends with the process, however that ends.
func lockAll(env *environment, dir string, keys []string) (syncLocks, error) {
	if dir == "" {
		dir = defaultStateDir(env)
	}
	dir = filepath.Join(dir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for locks: %w", err)
	}
	var locks syncLocks
	for _, key := range keys {
		lock, err := lockOne(dir, key, env.now())
		if err != nil {
			locks.release()
			return nil, err
		}
		locks = append(locks, lock)
	}
	return locks, nil
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

func lockOne(dir, key string, now time.Time) (*flock.Flock, error) {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:])+".lock")
	lock := flock.New(path)
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock for %s: %w", key, err)
	}
	// Nobody else can read a locked file on Windows: who holds it stands in another one.
	holder := path + ".holder"
	if !locked {
		said, _ := os.ReadFile(holder)
		return nil, fmt.Errorf("another run is writing to %s%s; wait until it has ended", key, heldBy(string(said)))
	}
	if err := os.WriteFile(holder, describeLock(key, now), 0o600); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock for %s: %w", key, err)
	}
	return lock, nil
}

// describeLock says who holds the lock, and since when, for people.
func describeLock(key string, now time.Time) []byte {
	host, _ := os.Hostname()
	return fmt.Appendf(nil, "process %d on %s, since %s\n%s\n", os.Getpid(), host, now.UTC().Format(time.RFC3339), key)
}

func heldBy(holder string) string {
	if line, _, ok := strings.Cut(holder, "\n"); ok && line != "" {
		return " (" + line + ")"
	}
	return ""
}

func (l syncLocks) release() {
	for _, lock := range l {
		_ = lock.Close()
	}
}
