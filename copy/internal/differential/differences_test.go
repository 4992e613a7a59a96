package differential

import (
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
	e := copytest.NewEnv(t)
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

// TestBlobInfoCacheStaysEmpty: upstream fills it, this package does not.
func TestBlobInfoCacheStaysEmpty(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	c := newFixedCase(t, "docker", copy.Options{ImageListSelection: copy.CopyAllImages})
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	c.e.Sys.BlobInfoCacheDir = filepath.Join(t.TempDir(), "cache")
	c.options.DestinationCtx = c.e.Sys
	require.NoError(t, c.ours(src.Ref("v1"), c.options).err)
	assert.NoDirExists(t, c.e.Sys.BlobInfoCacheDir)
	require.NoError(t, c.upstreams(src.Ref("v1")).err)
	assert.DirExists(t, c.e.Sys.BlobInfoCacheDir) // with nothing in it where programs are built without cgo
}

func TestPlatformFiltersAreNotComparable(t *testing.T) {
	assert.True(t, reflect.TypeFor[upstream.InstancePlatformFilter]().Comparable())
	assert.False(t, reflect.TypeFor[copy.InstancePlatformFilter]().Comparable())
}
