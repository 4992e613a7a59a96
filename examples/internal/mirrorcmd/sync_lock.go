package mirrorcmd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// syncLocks are the locks that a run holds: one for each repository, layout or file that it writes to.
type syncLocks []*os.File

// lockAll takes the locks for keys, which are sorted, or none of them: it does not wait. A lock is on a file that stays, and ends with
// the process, however that ends.
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
		f, err := lockOne(dir, key)
		if err != nil {
			locks.release()
			return nil, err
		}
		locks = append(locks, f)
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

func lockOne(dir, key string) (*os.File, error) {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, hex.EncodeToString(sum[:])+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock for %s: %w", key, err)
	}
	free, err := tryLock(f)
	if err == nil && free {
		err = describeLock(f, key)
	}
	switch {
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("lock for %s: %w", key, err)
	case !free:
		holder, _ := io.ReadAll(io.LimitReader(f, 1000))
		_ = f.Close()
		return nil, fmt.Errorf("another run is writing to %s%s; wait until it has ended", key, heldBy(string(holder)))
	}
	return f, nil
}

// describeLock writes who holds the lock, for people.
func describeLock(f *os.File, key string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	host, _ := os.Hostname()
	_, err := f.WriteAt([]byte(fmt.Sprintf("process %d on %s, since %s\n%s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339), key)), 0)
	return err
}

func heldBy(holder string) string {
	if line, _, ok := strings.Cut(holder, "\n"); ok && line != "" {
		return " (" + line + ")"
	}
	return ""
}

func (l syncLocks) release() {
	for _, f := range l {
		_ = f.Close()
	}
}
