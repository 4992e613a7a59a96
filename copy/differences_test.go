package copy

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// Tests of rows of docs/differences.md that no other test has.

// TestInvalidOptionsOpenNothing: a call that cannot be right asks nobody anything.
func TestInvalidOptionsOpenNothing(t *testing.T) {
	e := newEnv(t)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	for _, o := range []Options{
		{ForceCompressionFormat: true},
		{ImageListSelection: 7},
		{InstanceIndexes: []int{-1}, ImageListSelection: CopySpecificImages},
		{RequiredPlatforms: []InstancePlatformFilter{{Exclude: true}}},
	} {
		_, err := e.image(t.Context(), registryRef(t, dst, "app", "v1"), registryRef(t, src, "app", "v1"), o)
		var invalid *OptionsError
		require.ErrorAs(t, err, &invalid)
		assert.Empty(t, src.Requests())
		assert.Empty(t, dst.Requests())
	}
}

// TestBlobInfoCacheStaysEmpty: upstream fills it, this package does not.
func TestBlobInfoCacheStaysEmpty(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	c := newFixedCase(t, "docker", Options{ImageListSelection: CopyAllImages})
	src := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	c.e.sys.BlobInfoCacheDir = filepath.Join(t.TempDir(), "cache")
	c.options.DestinationCtx = c.e.sys
	require.NoError(t, c.ours(src.ref("v1"), c.options).err)
	assert.NoDirExists(t, c.e.sys.BlobInfoCacheDir)
	require.NoError(t, c.upstreams(src.ref("v1")).err)
	assert.DirExists(t, c.e.sys.BlobInfoCacheDir) // with nothing in it where programs are built without cgo
}

func TestPlatformFiltersAreNotComparable(t *testing.T) {
	assert.True(t, reflect.TypeFor[upstream.InstancePlatformFilter]().Comparable())
	assert.False(t, reflect.TypeFor[InstancePlatformFilter]().Comparable())
}
