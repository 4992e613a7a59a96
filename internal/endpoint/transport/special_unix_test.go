//go:build unix

package transport

import (
	"errors"
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

// TestDirectoriesWaitForNoPipe puts such a pipe in the place of each file of a directory.
func TestDirectoriesWaitForNoPipe(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	layer, child := blobs(f, imagetest.Top)[0], f.Digest("amd64")
	for _, name := range []string{"version", "manifest.json", "signature-1", child.Encoded() + ".manifest.json", child.Encoded() + ".signature-1", layer.Digest.Encoded()} {
		dir := t.TempDir()
		ref := dirRef(t, dir)
		copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), ref, system(t, ""))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
		require.NoError(t, syscall.Mkfifo(filepath.Join(dir, name), 0o600))
		src, err := OpenSource(t.Context(), ref, nil)
		if err == nil {
			_, ofChild := src.Manifest(t.Context(), child)
			_, ofLayer := src.Blob(t.Context(), layer)
			_, signed := src.Signatures(t.Context(), f.Digest(imagetest.Top))
			_, childSigned := src.Signatures(t.Context(), child)
			err = errors.Join(ofChild, ofLayer, signed, childSigned, src.Close())
		}
		assert.ErrorContains(t, err, name+" is no regular file")
	}
}
