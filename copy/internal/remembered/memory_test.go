package remembered

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// memoryIn returns what is remembered in a directory of two things that are done to images.
func memoryIn(t *testing.T, dir string) *Memory {
	t.Helper()
	ref, err := docker.ParseReference("//registry.example/app:1.0")
	require.NoError(t, err)
	return new(Files).Memory(ref, &types.SystemContext{BlobInfoCacheDir: dir}, map[string]Transformation{"": {}, "zstd": {Compression: "zstd"}})
}

// TestMemory: what is noted is found under the same keys, and what is not to be remembered is not
// noted.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	m := memoryIn(t, dir)
	assert.Equal(t, filepath.Join(dir, fileName), m.String())
	assert.False(t, m.Knows())
	image := digest.FromString("image")
	results := map[plan.TransformKey]Result{
		{Digest: image}:                 one("a")[keyOf("a")],
		{Digest: image, Format: "zstd"}: one("b")[keyOf("b")],
	}
	require.NoError(t, m.Note(t.Context(), results))
	assert.True(t, memoryIn(t, dir).Knows())
	found, err := memoryIn(t, dir).Find([]plan.TransformKey{{Digest: image}, {Digest: image, Format: "zstd"}, {Digest: image, Format: "gzip"}, {Digest: digest.FromString("other")}})
	require.NoError(t, err)
	assert.Equal(t, results, found)

	before := read(t, dir)
	assert.Equal(t, 2, strings.Count(before, `"repository":"docker:registry.example/app"`))
	require.NoError(t, m.Note(t.Context(), map[plan.TransformKey]Result{{Digest: image, Format: "gzip"}: one("c")[keyOf("c")]}))
	require.NoError(t, m.Note(t.Context(), nil))
	assert.Equal(t, before, read(t, dir))
}

// TestMemoryWithoutADirectory forgets, and says so to who would note something.
func TestMemoryWithoutADirectory(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_DATA_HOME", "")
	ref, err := docker.ParseReference("//registry.example/app:1.0")
	require.NoError(t, err)
	m := new(Files).Memory(ref, nil, map[string]Transformation{"": {}})
	assert.Equal(t, "no file: neither XDG_DATA_HOME nor HOME is set", m.String())
	assert.False(t, m.Knows())
	image := plan.TransformKey{Digest: digest.FromString("image")}
	_, err = m.Find([]plan.TransformKey{image})
	assert.Error(t, err)
	assert.Error(t, m.Note(t.Context(), map[plan.TransformKey]Result{image: one("a")[keyOf("a")]}))
	assert.NoError(t, m.Note(t.Context(), nil))
}

// TestStated: an entry counts if it says that its image was made of the right one, in the right
// way.
func TestStated(t *testing.T) {
	m := memoryIn(t, t.TempDir())
	image, result, variant := digest.FromString("image"), digest.FromString("result"), digest.FromString("variant")
	keys := []plan.TransformKey{{Digest: image}, {Digest: image, Format: "zstd"}, {Digest: image, Format: "gzip"}}
	entry := func(d, from, by digest.Digest) manifest.Instance {
		return manifest.Instance{Digest: d, Annotations: map[string]string{
			manifest.AnnotationTransformedFrom: from.String(), manifest.AnnotationTransformedBy: by.String(),
		}}
	}
	by := m.Transformations()
	assert.Len(t, by, 2)
	assert.Equal(t, map[plan.TransformKey]digest.Digest{{Digest: image}: result, {Digest: image, Format: "zstd"}: variant}, m.Stated([]manifest.Instance{
		{Digest: digest.FromString("silent")}, entry(result, image, by[""]), entry(variant, image, by["zstd"]),
	}, keys))
	for _, other := range []manifest.Instance{
		{Digest: result}, entry(result, "", ""), entry(result, image, ""), entry(result, "", by[""]),
		entry(result, result, by[""]), entry(result, image, digest.FromString("something else")),
		{Digest: result, Annotations: map[string]string{manifest.AnnotationTransformedFrom: image.String()}},
	} {
		assert.Empty(t, m.Stated([]manifest.Instance{other}, keys), other)
	}
}

// TestMemoryOfGarbage finds nothing, and is no error.
func TestMemoryOfGarbage(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte(imgspecv1.MediaTypeImageIndex), 0o600))
	found, err := memoryIn(t, dir).Find([]plan.TransformKey{{Digest: digest.FromString("image")}})
	require.NoError(t, err)
	assert.Empty(t, found)
}
