package copy

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/manifest"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/pkg/compression"
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

		manifests, blobs int // that the report counts
	}{
		"Docker list to a layout":         {imagetest.DockerList(), layout, strip, Upstream, "", 3, 5},
		"Docker list to a layout, keep":   {imagetest.DockerList(), layout, two, Upstream, "", 3, 5},
		"Docker list to a layout, all":    {imagetest.DockerList(), layout, Options{ImageListSelection: CopyAllImages}, Upstream, "", 5, 9},
		"forced media type":               {imagetest.Platforms(3, 1, 100), toRegistry, force, Upstream, "", 3, 4},
		"one image to a docker-archive":   {imagetest.Platforms(3, 1, 100), archive, Options{}, Upstream, "", 1, 2},
		"a list to a docker-archive":      {imagetest.Platforms(3, 1, 100), archive, strip, Upstream, "does not support copying multiple images as a group", 0, 0},
		"nested to a docker-archive":      {imagetest.Nested(), archive, strip, Upstream, "does not support copying multiple images as a group", 0, 0},
		"a list to a directory":           {imagetest.Platforms(3, 1, 100), dir, strip, Native, "", 3, 4},
		"a list to an oci-archive":        {imagetest.Platforms(3, 1, 100), ociArchive, strip, Native, "", 3, 4},
		"a Docker list to a directory":    {imagetest.DockerList(), dir, two, Native, "", 3, 5},
		"a Docker list to an oci-archive": {imagetest.DockerList(), ociArchive, strip, Upstream, "", 3, 5},
		"nested lists":                    {imagetest.Nested(), toRegistry, Options{ImageListSelection: CopyAllImages, ForceManifestMIMEType: manifest.DockerV2Schema2MediaType}, Upstream, "nested", 0, 0},
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
			assert.Equal(t, c.manifests, r.ManifestsCopied)
			assert.Equal(t, c.blobs, r.BlobsCopied)
			assert.Positive(t, r.BytesCopied)
			for _, i := range r.Instances {
				if i.List != "" && i.Outcome == Copied {
					assert.Equal(t, c.way == Upstream, i.Entry == Updated, "%s: %s", i.Platform, i.Entry)
				}
			}
			// What was written can be copied on, and so was complete.
			back := places["registry"](t)
			_, err = e.image(t.Context(), back.ref("v1"), dest, Options{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing})
			require.NoError(t, err)
		})
	}
}

// TestHandOverKeepsTheRest selects, misses, requires and follows where upstream does the work. What cannot be combined is refused with the
// names of both options.
func TestHandOverKeepsTheRest(t *testing.T) {
	f := imagetest.WithAttestations()
	e := newEnv(t)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", imagetest.Top)
	sparse := registryPlace{t, src.Registry, "sparse"}
	sparse.push(f, "v1", imagetest.Top, "arm64")
	sys := *e.sys
	sys.CompressionFormat = &compression.Zstd
	zstd := func(o Options) Options { o.ImageListSelection, o.DestinationCtx = CopySpecificImages, &sys; return o }
	docker := func(o Options) Options {
		o.ImageListSelection, o.ForceManifestMIMEType = CopySpecificImages, manifest.DockerV2Schema2MediaType
		return o
	}
	amd64, both := platforms("linux/amd64"), platforms("linux/amd64", "linux/arm64")
	for name, c := range map[string]struct {
		from     registryPlace
		options  Options
		copied   int    // entries
		warning  string // the report has one with this
		err      error  // of the type of it
		contains string // the error has this
	}{
		"attestations follow": {
			from: src, options: zstd(Options{InstancePlatforms: amd64, SparseManifestListAction: StripSparseManifestList}),
			copied: 2, warning: "describes an image that was changed",
		},
		"attestations are dropped": {
			from: src, options: zstd(Options{InstancePlatforms: amd64, SparseManifestListAction: StripSparseManifestList, Attestations: DropAttestations}),
			copied: 1,
		},
		"attestations cannot follow": {
			from: src, options: docker(Options{InstancePlatforms: amd64, SparseManifestListAction: StripSparseManifestList}),
			copied: 1, warning: "attestations are left behind (1)",
		},
		"attestations have to follow": {
			from: src, options: docker(Options{InstancePlatforms: amd64, SparseManifestListAction: StripSparseManifestList, Attestations: FollowSubject}),
			contains: "Unknown media type during manifest conversion",
		},
		"missing": {from: sparse, options: zstd(Options{InstancePlatforms: both}), err: new(MissingError)},
		"missing, skipped": {
			from: sparse, options: zstd(Options{InstancePlatforms: both, MissingInstances: SkipMissing, SparseManifestListAction: StripSparseManifestList}),
			copied: 2, warning: "describes an image that was changed",
		},
		"required":             {from: src, options: zstd(Options{InstancePlatforms: amd64, RequiredPlatforms: amd64, Attestations: DropAttestations, SparseManifestListAction: StripSparseManifestList}), copied: 1},
		"required, not there":  {from: src, options: zstd(Options{InstancePlatforms: amd64, RequiredPlatforms: both}), err: new(RequiredError)},
		"required, is missing": {from: sparse, options: zstd(Options{InstancePlatforms: both, RequiredPlatforms: both, MissingInstances: SkipMissing}), err: new(RequiredError)},
		"auto":                 {from: src, options: zstd(Options{InstancePlatforms: amd64, SparseManifestListAction: AutoSparseManifestList}), err: new(OptionsError), contains: "SparseManifestListAction and DestinationCtx.CompressionFormat"},
	} {
		t.Run(name, func(t *testing.T) {
			dst := places["registry"](t).(registryPlace)
			r, err := e.image(t.Context(), dst.ref("v1"), c.from.ref("v1"), c.options)
			if c.err != nil || c.contains != "" {
				require.ErrorContains(t, err, c.contains)
				if c.err != nil {
					assert.IsType(t, c.err, err)
				}
				assert.Empty(t, dst.top("v1"))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, Upstream, r.Plan.Way)
			content, mediaType, ok := dst.Manifest(dst.repo, "v1")
			require.True(t, ok)
			list, err := manifest.ListFromBlob(content, mediaType)
			require.NoError(t, err)
			assert.Len(t, list.Instances(), c.copied)
			if c.warning == "" {
				assert.Empty(t, r.Warnings)
			}
			assert.Contains(t, strings.Join(r.Warnings, "\n"), c.warning)
		})
	}
}
