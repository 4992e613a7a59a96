package hermetictest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/blobinfocache"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

// inside is how the binary is told to say where its home is, and to wait there until it is killed.
const inside = "HERMETICTEST_INSIDE"

func TestMain(m *testing.M) {
	run := m.Run
	if os.Getenv(inside) != "" {
		run = func() int {
			fmt.Println(os.Getenv("HOME"))
			_, _ = io.Copy(io.Discard, os.Stdin)
			return 0
		}
	}
	os.Exit(hermetictest.Main(run))
}

// TestKilledChildrenLeaveNothing kills a process in its home, which goes with this one.
func TestKilledChildrenLeaveNothing(t *testing.T) {
	assert.Equal(t, filepath.Join(os.Getenv("HOME"), "tmp"), os.TempDir())
	binary, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(binary)
	child.Env = append(os.Environ(), inside+"=1")
	_, err = child.StdinPipe()
	require.NoError(t, err)
	said, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	home, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())

	home = strings.TrimSpace(home)
	require.DirExists(t, home)
	assert.Equal(t, os.TempDir(), filepath.Dir(home))
}

// ask asks containers/image for everything that it may find on a machine, and returns where
// signatures are looked for.
func ask(t *testing.T, sys *types.SystemContext) (lookaside string) {
	t.Helper()
	ref, err := docker.ParseReference("//127.0.0.1:5000/a/b:c")
	require.NoError(t, err)
	url, err := docker.SignatureStorageBaseURL(sys, ref, false)
	require.NoError(t, err)
	registries, err := sysregistriesv2.GetRegistries(sys)
	require.NoError(t, err)
	assert.Empty(t, registries)
	credentials, err := config.GetAllCredentials(sys)
	require.NoError(t, err)
	assert.Empty(t, credentials)
	cache := blobinfocache.DefaultCache(sys)
	cache.RecordDigestUncompressedPair(digest.FromString("a"), digest.FromString("b"))
	assert.Equal(t, digest.FromString("b"), cache.UncompressedDigest(digest.FromString("a")))
	return url.Path
}

// TestEveryPathIsInTheHome runs as whoever runs the tests, root often.
func TestEveryPathIsInTheHome(t *testing.T) {
	home := hermetictest.Home(t)
	assert.Equal(t, filepath.Join(home, ".local/share/containers/sigstore/a/b"), ask(t, nil))
	assert.DirExists(t, filepath.Join(home, ".local/share/containers/cache"), "where there is cgo, with a file")
	assert.Equal(t, filepath.Join(home, "registries.conf"), sysregistriesv2.ConfigPath(nil)) //nolint:staticcheck // the file itself is wanted
}

// TestSystemLooksNowhereElse makes a home of files that nobody can read as what they are.
func TestSystemLooksNowhereElse(t *testing.T) {
	home := hermetictest.Home(t)
	config := filepath.Join(home, ".config", "containers")
	for _, dir := range []string{"registries.d", "registries.conf.d", "certs.d"} {
		require.NoError(t, os.RemoveAll(filepath.Join(config, dir)))
	}
	for _, dir := range []string{".docker", ".local/share/containers", ".run/containers"} {
		require.NoError(t, os.MkdirAll(filepath.Join(home, dir), 0o700))
	}
	for _, name := range []string{
		".config/containers/registries.d", ".config/containers/registries.conf.d", ".config/containers/certs.d", ".config/containers/policy.json",
		".config/containers/auth.json", ".config/containers/registries.conf", ".docker/config.json", ".dockercfg", ".run/containers/auth.json",
		".local/share/containers/sigstore", ".local/share/containers/cache", "registries.conf", "storage.conf",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte("]["), 0o600))
	}
	sys, dir := hermetictest.System(t)

	assert.Equal(t, filepath.Join(dir, "lookaside/a/b"), ask(t, sys))
	_, err := signature.DefaultPolicy(sys)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
