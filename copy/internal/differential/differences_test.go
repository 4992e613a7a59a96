package differential

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// Tests of rows of docs/differences.md that no other test has.

// TestInvalidOptionsOpenNothing: a call that cannot be right asks nobody anything.
func TestInvalidOptionsOpenNothing(t *testing.T) {
	e := newEnv(t)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	for _, o := range []copy.Options{
		{ForceCompressionFormat: true},
		{ImageListSelection: 7},
		{InstanceIndexes: []int{-1}, ImageListSelection: copy.CopySpecificImages},
		{RequiredPlatforms: []copy.InstancePlatformFilter{{Exclude: true}}},
	} {
		_, err := e.Image(t.Context(), copytest.RegistryRef(t, dst, "app", "v1"), copytest.RegistryRef(t, src, "app", "v1"), o)
		var invalid *copy.OptionsError
		require.ErrorAs(t, err, &invalid)
		assert.Empty(t, src.Requests())
		assert.Empty(t, dst.Requests())
	}
}

// TestBlobInfoCacheStaysEmpty: upstream fills it, this package does not; but it notes beside it
// what images became that were transformed.
func TestBlobInfoCacheStaysEmpty(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	f.Layer("plain", imagetest.Uncompressed(), imagetest.Random(9, 100))
	f.Image("uncompressed", imagetest.Platform("linux/s390x"), imagetest.Layers("plain"))
	c := newFixedCase(t, "docker", copy.Options{ImageListSelection: copy.CopyAllImages})
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	c.e.Sys.BlobInfoCacheDir = filepath.Join(t.TempDir(), "cache")
	c.options.DestinationCtx = c.e.Sys
	require.NoError(t, c.ours(src.Ref("v1"), c.options).err)
	assert.NoDirExists(t, c.e.Sys.BlobInfoCacheDir)
	require.NoError(t, c.upstreams(src.Ref("v1")).err)
	assert.DirExists(t, c.e.Sys.BlobInfoCacheDir) // with nothing in it where programs are built without cgo

	require.NoError(t, os.RemoveAll(c.e.Sys.BlobInfoCacheDir))
	src.Push(f, "plain", "uncompressed")
	require.NoError(t, c.ours(src.Ref("plain"), c.options).err)
	entries, err := os.ReadDir(c.e.Sys.BlobInfoCacheDir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	assert.Equal(t, "sparsecopy-transformed-v1.jsonl", entries[0].Name())
	assert.Equal(t, "sparsecopy-transformed-v1.lock", entries[1].Name())
}

func TestPlatformFiltersAreNotComparable(t *testing.T) {
	assert.True(t, reflect.TypeFor[upstream.InstancePlatformFilter]().Comparable())
	assert.False(t, reflect.TypeFor[copy.InstancePlatformFilter]().Comparable())
}

// blobsCome is a row of docs/differences.md.
const blobsCome = "Lists that name blobs are copied"

// TestListsThatNameBlobs: upstream takes the entries of a build cache for manifests.
func TestListsThatNameBlobs(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(top, "docs", "differences.md"))
	require.NoError(t, err)
	assert.Contains(t, string(table), "\n| "+blobsCome+" |")
	f := imagetest.Cache(2, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	for _, o := range []copy.Options{{}, {ImageListSelection: copy.CopyAllImages}, copytest.Auto("linux/amd64")} {
		c := newFixedCase(t, "docker", o)
		assert.NoError(t, c.ours(src.Ref("v1"), c.options).err)
		assert.Error(t, c.upstreams(src.Ref("v1")).err)
	}
	c := newFixedCase(t, "docker", copy.Options{ImageListSelection: copy.CopySpecificImages})
	theirs, ours := c.upstreams(src.Ref("v1")), c.ours(src.Ref("v1"), c.options)
	require.NoError(t, theirs.err)
	require.NoError(t, ours.err)
	assert.Equal(t, ours.copied, theirs.copied)
	assert.NotEqual(t, ours.lines, theirs.lines, "upstream copies the list, and nothing that it names")
}
