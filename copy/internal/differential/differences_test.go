package differential

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"

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

// TestLayoutsOfDockerSave: two images have the same tag, and containerd's names tell them apart.
func TestLayoutsOfDockerSave(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	dir := t.TempDir()
	require.NoError(t, f.WriteLayout(dir, "", imagetest.Top))
	var index imgspecv1.Index
	for i, image := range []string{"amd64", "arm64"} {
		content, mediaType := f.Document(image)
		index.Manifests = append(index.Manifests, imgspecv1.Descriptor{
			MediaType: mediaType, Digest: f.Digest(image), Size: int64(len(content)), Annotations: map[string]string{
				imgspecv1.AnnotationRefName: "1", "io.containerd.image.name": []string{"a.example/first:1", "a.example/second:1"}[i],
			},
		})
	}
	content, err := json.Marshal(index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, imgspecv1.ImageIndexFile), content, 0o600))

	c := newFixedCase(t, "docker", copy.Options{})
	image := func(name string) types.ImageReference {
		ref, err := layout.ParseReference(dir + ":" + name)
		require.NoError(t, err)
		return ref
	}
	first, _ := f.Document("amd64")
	second, _ := f.Document("arm64")
	theirs := c.upstreams(image("1"))
	require.NoError(t, theirs.err)
	assert.Equal(t, string(first), string(theirs.copied))
	assert.ErrorContains(t, c.ours(image("1"), c.options).err, `name one of "a.example/first:1", "a.example/second:1"`)

	assert.Error(t, c.upstreams(image("a.example/second:1")).err)
	for _, name := range []string{"a.example/second:1", "@1"} {
		ours := c.ours(image(name), c.options)
		require.NoError(t, ours.err)
		assert.Equal(t, string(second), string(ours.copied))
	}
}
