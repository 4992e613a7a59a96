package copy

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestHandOver lets upstream do what the engine does not, with the instances that were planned.
func TestHandOver(t *testing.T) {
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	strip := two
	strip.SparseManifestListAction = StripSparseManifestList
	force := strip
	force.ForceManifestMIMEType = manifest.DockerV2Schema2MediaType
	archive := func(t testing.TB) types.ImageReference {
		named, err := reference.ParseNormalizedNamed("example.com/app:v1")
		require.NoError(t, err)
		ref, err := dockerarchive.NewReference(filepath.Join(t.TempDir(), "archive.tar"), named.(reference.NamedTagged))
		require.NoError(t, err)
		return ref
	}
	dir := func(t testing.TB) types.ImageReference {
		ref, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
		require.NoError(t, err)
		return ref
	}
	ociArchive := func(t testing.TB) types.ImageReference {
		ref, err := ociarchive.NewReference(filepath.Join(t.TempDir(), "oci.tar"), "v1")
		require.NoError(t, err)
		return ref
	}
	layout := func(t testing.TB) types.ImageReference { return places["layout"](t).ref("v1") }
	toRegistry := func(t testing.TB) types.ImageReference { return places["registry"](t).ref("v1") }

	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		dest    func(testing.TB) types.ImageReference
		options Options
		way     Way
		err     string
	}{
		"Docker list to a layout":         {imagetest.DockerList(), layout, strip, Upstream, ""},
		"Docker list to a layout, keep":   {imagetest.DockerList(), layout, two, Upstream, ""},
		"Docker list to a layout, all":    {imagetest.DockerList(), layout, Options{ImageListSelection: CopyAllImages}, Upstream, ""},
		"forced media type":               {imagetest.Platforms(3, 1, 100), toRegistry, force, Upstream, ""},
		"one image to a docker-archive":   {imagetest.Platforms(3, 1, 100), archive, Options{}, Upstream, ""},
		"a list to a docker-archive":      {imagetest.Platforms(3, 1, 100), archive, strip, Upstream, "does not support copying multiple images as a group"},
		"nested to a docker-archive":      {imagetest.Nested(), archive, strip, Upstream, "does not support copying multiple images as a group"},
		"a list to a directory":           {imagetest.Platforms(3, 1, 100), dir, strip, Native, ""},
		"a list to an oci-archive":        {imagetest.Platforms(3, 1, 100), ociArchive, strip, Native, ""},
		"a Docker list to a directory":    {imagetest.DockerList(), dir, two, Native, ""},
		"a Docker list to an oci-archive": {imagetest.DockerList(), ociArchive, strip, Upstream, ""},
		"nested lists":                    {imagetest.Nested(), toRegistry, Options{ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.DockerV2Schema2MediaType}, Upstream, "nested"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
			src.push(c.fixture, "v1", imagetest.Top)
			dest := c.dest(t)
			r, err := e.image(t.Context(), dest, src.ref("v1"), c.options)
			if r.Plan != nil {
				assert.Equal(t, c.way, r.Plan.Way, r.Plan.WayReason)
			}
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			// What was written can be copied on, and so was complete.
			back := places["registry"](t)
			_, err = e.image(t.Context(), back.ref("v1"), dest, Options{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing})
			require.NoError(t, err)
		})
	}
}
