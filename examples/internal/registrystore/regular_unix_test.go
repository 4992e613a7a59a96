//go:build unix

package registrystore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// TestNoPipeIsWaitedFor where a file should be.
func TestNoPipeIsWaitedFor(t *testing.T) {
	directory := t.TempDir()
	d := digest.FromString("x")
	const app = "docker/registry/v2/repositories/app/"
	for _, name := range []string{
		"docker/registry/v2/blobs/sha256/" + d.Encoded()[:2] + "/" + d.Encoded() + "/data",
		app + "_manifests/tags/v1/current/link",
	} {
		file := filepath.Join(directory, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, unix.Mkfifo(file, 0o600))
	}
	s, err := registrystore.OpenDirectory(directory)
	require.NoError(t, err)
	_, err = s.OpenBlob(t.Context(), d)
	assert.EqualError(t, err, "opening blob "+d.String()+": it is no file, but p---------")
	_, err = s.Current(t.Context(), "app", "v1")
	assert.ErrorContains(t, err, "it is no file")
}
