package bundle_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestContentOfArchives lists an archive without unpacking its layers, and the same bundle as a
// directory.
func TestContentOfArchives(t *testing.T) {
	c := newCarrier(t, registrytest.Options{})
	f := imagetest.New()
	large := strings.Repeat("large", manifest.MaxSize/4)
	f.Blob("large", imgspecv1.MediaTypeImageLayer, []byte(large))
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("large"))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("large"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64"))
	f.PushTo(c.src, "app", "1", imagetest.Top)
	archive, _ := c.create("b.tar", "", some(copy.KeepSparseManifestList), "app:1")
	dir, _ := c.create("b", "", some(copy.KeepSparseManifestList), "app:1")
	t.Setenv("TMPDIR", t.TempDir())
	var all []*bundle.Content
	for _, path := range []string{archive, dir} {
		b := c.open(path, &bundle.OpenOptions{Listing: true})
		content, err := b.Content(b.Record().Images[0].Name)
		require.NoError(t, err)
		all = append(all, content)
	}
	assert.Equal(t, all[1], all[0])
	assert.Equal(t, []bundle.ContentEntry{
		{Digest: f.Digest("amd64"), Platform: "linux/amd64"}, {Digest: f.Digest("arm64"), Platform: "linux/arm64", Absent: true},
	}, all[0].Entries)
	assert.Greater(t, all[0].Bytes, int64(len(large)))
	assert.Equal(t, all[0].Bytes, all[0].Carried)
	require.NoError(t, filepath.WalkDir(os.Getenv("TMPDIR"), func(path string, entry fs.DirEntry, err error) error {
		if info, infoErr := entry.Info(); err == nil && infoErr == nil && !entry.IsDir() {
			assert.Less(t, info.Size(), int64(manifest.MaxSize), path)
		}
		return err
	}))
	b := c.open(dir, nil)
	_, err := b.Content("registry.example/none:1")
	assert.ErrorContains(t, err, `it has no image "registry.example/none:1"`)
}
