package registrystore

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lockVariable makes the test binary take the lock of that directory, say so, and hold it until it
// is killed or its parent is gone.
const lockVariable = "REGISTRYSTORE_TEST_LOCK"

func TestMain(m *testing.M) {
	if storage := os.Getenv(lockVariable); storage != "" {
		_, err := TakeLock(storage, "a child")
		fmt.Println(err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	logrus.SetOutput(io.Discard) // distribution's log
	os.Exit(m.Run())
}

// startHolder starts a process that has the lock of a directory.
func startHolder(t *testing.T, storage string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockVariable+"="+storage)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = stdin.Close() })
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "<nil>\n", line)
	return cmd
}

func TestALockKeepsOthersOut(t *testing.T) {
	storage := t.TempDir()
	lock, err := TakeLock(storage, "sparse-registry")
	require.NoError(t, err)
	_, err = TakeLock(storage, "sparse-registry gc")
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	assert.Equal(t, storage, locked.Storage)
	assert.Regexp(t, `^sparse-registry \(process \d+ on .*, since 20.*Z\)$`, locked.Holder)
	assert.EqualError(t, err, "storage "+storage+" is in use by "+locked.Holder+": stop that first, or use another directory")

	require.NoError(t, lock.Release())
	lock, err = TakeLock(storage, "sparse-registry gc")
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(storage, OwnDirectory, holderFile)))
	_, err = TakeLock(storage, "sparse-registry")
	assert.ErrorContains(t, err, "is in use by another process: stop that first")
	require.NoError(t, lock.Release())
}

// TestALockIsNoPath takes the lock of a directory by another of its names.
func TestALockIsNoPath(t *testing.T) {
	storage := t.TempDir()
	other := filepath.Join(t.TempDir(), "other")
	if err := os.Symlink(storage, other); err != nil {
		t.Skip(err)
	}
	lock, err := TakeLock(storage, "sparse-registry")
	require.NoError(t, err)
	_, err = TakeLock(other, "sparse-registry")
	assert.IsType(t, &LockedError{}, err)
	require.NoError(t, lock.Release())
}

func TestALockEndsWithItsProcess(t *testing.T) {
	storage := t.TempDir()
	holder := startHolder(t, storage)
	_, err := TakeLock(storage, "sparse-registry")
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	assert.Contains(t, locked.Holder, fmt.Sprintf("a child (process %d on ", holder.Process.Pid))

	require.NoError(t, holder.Process.Kill())
	_ = holder.Wait() // says that it was killed
	lock, err := TakeLock(storage, "sparse-registry")
	require.NoError(t, err)
	require.NoError(t, lock.Release())
}

func TestWhatCannotBeLockedIsNamed(t *testing.T) {
	storage := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(storage, OwnDirectory, lockFile), 0o700))
	_, err := TakeLock(storage, "sparse-registry")
	assert.ErrorContains(t, err, "locking storage "+storage+": ")

	file := filepath.Join(storage, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = TakeLock(file, "sparse-registry")
	assert.ErrorContains(t, err, "locking storage "+file+": ")
	assert.EqualError(t, lockError("/srv", &fs.PathError{Op: "mkdir", Path: "/srv/x", Err: fs.ErrPermission}),
		fmt.Sprintf("locking storage /srv: mkdir /srv/x: permission denied for user %d: all of the storage has to belong to the user of the server", os.Geteuid()))
}
