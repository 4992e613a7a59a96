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
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/manifest"
)

const ociImage = imgspecv1.MediaTypeImageManifest

// memoryIn returns what is remembered in a directory of copies to a registry, which add variants
// with zstd.
func memoryIn(t *testing.T, dir string) *Memory {
	t.Helper()
	return new(Files).Memory(repositoryRef(t), &upstream.Options{
		DestinationCtx:                 &types.SystemContext{BlobInfoCacheDir: dir},
		EnsureCompressionVariantsExist: []upstream.OptionCompressionVariant{{Algorithm: compression.Zstd}},
	}, aRegistry)
}

func repositoryRef(t *testing.T) types.ImageReference {
	t.Helper()
	ref, err := docker.ParseReference("//registry.example/app:1.0")
	require.NoError(t, err)
	return ref
}

// imagePlan is the plan of a copy of one image, which is transformed for a reason, or carried for
// none.
func imagePlan(d digest.Digest, reason string) *plan.Plan {
	return &plan.Plan{Image: &plan.ImagePlan{Digest: d, Transform: reason}}
}

// unread says that nothing was read at the source.
func unread(digest.Digest) (endpoint.Document, bool) { return endpoint.Document{}, false }

// TestMemory: what is noted is found under the same keys.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	m := memoryIn(t, dir)
	assert.Equal(t, filepath.Join(dir, fileName), m.String())
	assert.False(t, m.Knows())
	source := endpoint.Document{Digest: digest.FromString("source"), MediaType: manifest.MediaTypeDockerManifest}
	result, variant := endpoint.Document{Digest: digest.FromString("result"), MediaType: ociImage, Bytes: []byte("result")}, endpoint.Document{Digest: digest.FromString("variant"), MediaType: ociImage, Bytes: []byte("variant!")}
	itself, zstd := plan.TransformKey{Digest: source.Digest}, plan.TransformKey{Digest: source.Digest, Format: "zstd"}
	require.NoError(t, m.Note(t.Context(), Noted{
		Plan: imagePlan(source.Digest, "why"), Results: map[plan.TransformKey]endpoint.Document{itself: result, zstd: variant, {Digest: source.Digest, Format: "gzip"}: variant},
		Source: func(d digest.Digest) (endpoint.Document, bool) { return source, d == source.Digest },
	}))
	assert.True(t, memoryIn(t, dir).Knows())
	found, err := memoryIn(t, dir).Find([]plan.TransformKey{itself, zstd, {Digest: source.Digest, Format: "gzip"}, {Digest: result.Digest}})
	require.NoError(t, err)
	assert.Equal(t, map[plan.TransformKey]Result{
		itself: {result.Digest, 6, ociImage, manifest.MediaTypeDockerManifest, "why"},
		zstd:   {variant.Digest, 8, ociImage, manifest.MediaTypeDockerManifest, "gets a variant with zstd"},
	}, found)

	before := read(t, dir)
	assert.Equal(t, 2, strings.Count(before, `"repository":"docker:registry.example/app"`))
	require.NoError(t, m.Note(t.Context(), Noted{
		Plan: imagePlan(source.Digest, "why"), Results: map[plan.TransformKey]endpoint.Document{itself: result}, Source: unread,
		Recalled: map[digest.Digest]plan.Recalled{source.Digest: {MediaType: manifest.MediaTypeDockerManifest}},
	}))
	assert.Equal(t, before, read(t, dir), "it is known, also without the manifest of the source")
}

// TestMemoryOfWhatIsCarried: that an image stays as it is, is worth remembering where it takes its
// manifest to know that.
func TestMemoryOfWhatIsCarried(t *testing.T) {
	image := endpoint.Document{Digest: digest.FromString("image"), MediaType: ociImage, Bytes: []byte("image")}
	key := plan.TransformKey{Digest: image.Digest}
	sourceHas := func(d digest.Digest) (endpoint.Document, bool) { return image, d == image.Digest }
	for name, c := range map[string]struct {
		n    Noted
		want map[plan.TransformKey]Result
	}{
		"worth it":    {Noted{Plan: imagePlan(image.Digest, ""), Source: sourceHas, Carried: true}, map[plan.TransformKey]Result{key: {image.Digest, 5, ociImage, ociImage, ""}}},
		"not":         {Noted{Plan: imagePlan(image.Digest, ""), Source: sourceHas}, map[plan.TransformKey]Result{}},
		"not read":    {Noted{Plan: imagePlan(image.Digest, ""), Source: unread, Carried: true}, map[plan.TransformKey]Result{}},
		"transformed": {Noted{Plan: imagePlan(image.Digest, "why"), Source: sourceHas, Carried: true}, map[plan.TransformKey]Result{}},
	} {
		t.Run(name, func(t *testing.T) {
			m := memoryIn(t, filepath.Join(t.TempDir(), "cache"))
			require.NoError(t, m.Note(t.Context(), c.n))
			found, err := m.Find([]plan.TransformKey{key})
			require.NoError(t, err)
			assert.Equal(t, c.want, found)
			if len(c.want) == 0 {
				assert.NoFileExists(t, m.String())
			}
		})
	}
}

// TestMemoryWithoutADirectory forgets, and says so to who would note something.
func TestMemoryWithoutADirectory(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_DATA_HOME", "")
	m := new(Files).Memory(repositoryRef(t), &upstream.Options{}, aRegistry)
	assert.Equal(t, "no file: neither XDG_DATA_HOME nor HOME is set", m.String())
	assert.False(t, m.Knows())
	image := plan.TransformKey{Digest: digest.FromString("image")}
	_, err := m.Find([]plan.TransformKey{image})
	assert.Error(t, err)
	n := Noted{Plan: imagePlan(image.Digest, "why"), Source: unread}
	assert.NoError(t, m.Note(t.Context(), n), "there is nothing to note")
	n.Results = map[plan.TransformKey]endpoint.Document{image: {Digest: digest.FromString("result")}}
	assert.Error(t, m.Note(t.Context(), n))
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
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), []byte(ociImage), 0o600))
	found, err := memoryIn(t, dir).Find([]plan.TransformKey{{Digest: digest.FromString("image")}})
	require.NoError(t, err)
	assert.Empty(t, found)
}
