//go:build unix

package transport

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestWritingToALayoutWaitsForNoPipe puts a pipe, to which nobody ever writes, in the place of each
// file that is read before something is written.
func TestWritingToALayoutWaitsForNoPipe(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	top := f.Digest(imagetest.Top)
	for _, name := range []string{"oci-layout", "index.json", filepath.Join("blobs", "sha256", top.Encoded())} {
		dir := t.TempDir()
		require.NoError(t, f.WriteLayout(dir, "v1", imagetest.Top))
		path := filepath.Join(dir, name)
		require.NoError(t, os.Remove(path))
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		dest, err := OpenDestination(t.Context(), layoutRef(t, dir, "v1"), nil)
		if err == nil {
			_, err = dest.HasManifest(t.Context(), top)
			require.NoError(t, dest.Close())
		}
		assert.ErrorContains(t, err, path+" is no regular file")
	}
}
