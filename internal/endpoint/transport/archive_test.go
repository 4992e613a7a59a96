package transport

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

func TestArchiveIsRenamedLast(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	sys := system(t, "")
	parent := t.TempDir()
	ref := archiveRef(t, filepath.Join(parent, "a.tar"), "v1")
	copyOnce(t, f, layoutSource(t, f, "arm64").Reference(), ref, sys)
	require.NoError(t, os.Chmod(filepath.Join(parent, "a.tar"), 0o640))

	list := layoutSource(t, f, imagetest.Top)
	dest := openDestination(t, ref, sys)
	for _, b := range blobs(f, imagetest.Top) {
		_, err := dest.PutBlob(t.Context(), b, from(list, b))
		require.NoError(t, err)
	}
	require.NoError(t, dest.Close())
	checkSource(t, f, openSource(t, ref, sys), "arm64")
	assert.Equal(t, []string{"a.tar"}, filesOf(t, parent))

	copyOnce(t, f, list.Reference(), ref, sys)
	checkSource(t, f, openSource(t, ref, sys), imagetest.Top)
	assert.Equal(t, []string{"a.tar"}, filesOf(t, parent))
	info, err := os.Stat(filepath.Join(parent, "a.tar"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

// TestArchiveReadsOneBlobAtATime that has to be unpacked.
func TestArchiveReadsOneBlobAtATime(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := layoutOf(t, f, entry(f, imagetest.Top, "v1", ""))
	b := blobs(f, imagetest.Top)[0]
	require.NoError(t, os.Rename(blobFile(dir, b.Digest), filepath.Join(dir, "linked")))
	require.NoError(t, os.Symlink("../../linked", blobFile(dir, b.Digest)))
	src := openSource(t, archiveRef(t, packed(t, dir), "v1"), system(t, ""))
	checkSource(t, f, src, imagetest.Top)
	first, err := src.Blob(t.Context(), b)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := src.Blob(ctx, b)
		failed <- err
	}()
	cancel()
	assert.ErrorIs(t, <-failed, context.Canceled)

	second := make(chan io.ReadCloser, 1)
	go func() {
		r, err := src.Blob(t.Context(), b)
		assert.NoError(t, err)
		second <- r
	}()
	require.NoError(t, first.Close())
	require.NoError(t, (<-second).Close())
}

func TestArchiveThatCannotBeReplaced(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	require.NoError(t, os.WriteFile(from, []byte("new"), 0o600))
	require.NoError(t, os.WriteFile(to, []byte("older"), 0o600))
	require.NoError(t, overwrite(t.Context(), to, from))
	content, err := os.ReadFile(to)
	require.NoError(t, err)
	assert.Equal(t, "new", string(content))

	// A device is written to directly.
	ref := archiveRef(t, os.DevNull, "v1")
	copyOnce(t, f, layoutSource(t, f, imagetest.Top).Reference(), ref, system(t, ""))
	info, err := os.Stat(os.DevNull)
	require.NoError(t, err)
	assert.False(t, info.Mode().IsRegular())
}
