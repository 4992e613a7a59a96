package sparseserver

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// TestAReadOnlyFileSystem serves a storage that nobody can write to, such as a snapshot: by itself,
// in a name space of its own, in which it may mount.
func TestAReadOnlyFileSystem(t *testing.T) {
	const child = "READ_ONLY_TEST_STORAGE"
	if storage := os.Getenv(child); storage != "" {
		serveReadOnly(t, storage)
		return
	}
	storage := t.TempDir()
	f := sparsetest.Fixture(false)
	server, client := start(t, Config{Storage: storage})
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "amd64").Status)
	require.NoError(t, server.Close())
	require.NoError(t, filepath.WalkDir(storage, func(path string, _ os.DirEntry, err error) error {
		require.NoError(t, err)
		return os.Chtimes(path, time.Time{}, time.Now().Add(-2*renewAfter))
	}))
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: ControlSocket(storage), Net: "unix"})
	require.NoError(t, err)
	listener.SetUnlinkOnClose(false)
	require.NoError(t, listener.Close(), "as a server has left it that was running when the snapshot was taken")

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"="+storage)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	output, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
		t.Skip("this system gives nobody a name space: ", err)
	}
	require.NoError(t, err, "%s", output)
}

func serveReadOnly(t *testing.T, storage string) {
	require.NoError(t, syscall.Mount(storage, storage, "", syscall.MS_BIND, ""))
	require.NoError(t, syscall.Mount("", storage, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err := Start(Config{Address: "127.0.0.1:0", Storage: storage})
	require.ErrorIs(t, err, syscall.EROFS)
	for _, directory := range registrystore.Directories(storage) {
		require.ErrorIs(t, mayWrite(directory), syscall.EROFS)
	}

	var log logBuffer
	_, client := start(t, Config{Storage: storage, ReadOnly: true, Log: log.logger()})
	assert.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", "v1").Status)
	assert.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, readyPath, nil, nil).Status)
	assert.Equal(t, http.StatusMethodNotAllowed, client.Do(t, http.MethodPost, "/v2/app/blobs/uploads/", nil, nil).Status)
	assert.Equal(t, []string{
		`level=WARN msg="the storage is not locked: its file system is read-only" storage=` + storage,
	}, log.lines("level=WARN"))
}
