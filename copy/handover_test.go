package copy_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

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

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestHandOver copies to all kinds of destinations: upstream does what the engine does not, with
// the instances that were planned.
func TestHandOver(t *testing.T) {
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	strip := two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	force := strip
	force.ForceManifestMIMEType = manifest.DockerV2Schema2MediaType
	at := time.Unix(1, 0)
	dated := strip
	dated.DestinationTimestamp = &at
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
	layout := func(t testing.TB) types.ImageReference { return copytest.Places["layout"](t).Ref("v1") }
	toRegistry := func(t testing.TB) types.ImageReference { return copytest.Places["registry"](t).Ref("v1") }

	for name, c := range map[string]struct {
		fixture *imagetest.Fixture
		dest    func(testing.TB) types.ImageReference
		options copy.Options
		way     copy.Way
		err     string

		manifests, blobs int // that the report counts
	}{
		"Docker list to a layout":         {imagetest.DockerList(), layout, strip, copy.Native, "", 3, 5},
		"Docker list to a layout, keep":   {imagetest.DockerList(), layout, two, copy.Native, "", 3, 5},
		"Docker list to a layout, all":    {imagetest.DockerList(), layout, copy.Options{ImageListSelection: copy.CopyAllImages}, copy.Native, "", 5, 9},
		"forced media type":               {imagetest.Platforms(3, 1, 100), toRegistry, force, copy.Native, "", 3, 4},
		"one image to a docker-archive":   {imagetest.Platforms(3, 1, 100), archive, copy.Options{}, copy.Upstream, "", 1, 2},
		"a list to a docker-archive":      {imagetest.Platforms(3, 1, 100), archive, strip, copy.Upstream, "does not support copying multiple images as a group", 0, 0},
		"nested to a docker-archive":      {imagetest.Nested(), archive, strip, copy.Upstream, "does not support copying multiple images as a group", 0, 0},
		"a list to a directory":           {imagetest.Platforms(3, 1, 100), dir, strip, copy.Native, "", 3, 4},
		"a list to an oci-archive":        {imagetest.Platforms(3, 1, 100), ociArchive, strip, copy.Native, "", 3, 4},
		"a Docker list to a directory":    {imagetest.DockerList(), dir, two, copy.Native, "", 3, 5},
		"a Docker list to an oci-archive": {imagetest.DockerList(), ociArchive, strip, copy.Native, "", 3, 5},
		"nested lists":                    {imagetest.Nested(), toRegistry, copy.Options{ImageListSelection: copy.CopyAllImages, ForceManifestMIMEType: manifest.DockerV2Schema2MediaType}, copy.Native, "", 8, 11},
		"one image, dated":                {imagetest.Platforms(3, 1, 100), ociArchive, copy.Options{DestinationTimestamp: &at}, copy.Upstream, "", 1, 2},
		"a list, dated":                   {imagetest.Platforms(3, 1, 100), ociArchive, dated, copy.Upstream, "", 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(c.fixture, "v1", imagetest.Top)
			dest := c.dest(t)
			r, err := e.Image(t.Context(), dest, src.Ref("v1"), c.options)
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
				if i.List != "" && i.Outcome == copy.Copied && !i.Nested {
					assert.Equal(t, i.Became != nil, i.Entry == copy.Updated, "%s: %s", i.Platform, i.Entry)
				}
			}
			// What was written can be copied on, and so was complete.
			back := copytest.Places["registry"](t)
			_, err = e.Image(t.Context(), back.Ref("v1"), dest, copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing})
			require.NoError(t, err)
		})
	}
}

// TestTransformKeepsTheRest selects, misses, requires and follows where images are transformed.
func TestTransformKeepsTheRest(t *testing.T) {
	f := imagetest.WithAttestations()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	sparse := copytest.RegistryAt(t, src.Registry, "sparse")
	sparse.Push(f, "v1", imagetest.Top, "arm64")
	withSubjects := copytest.BuildKitFixture()
	withSubjects.List("flat", imagetest.Entries("att-amd64", "amd64", "att-arm64", "arm64", "s390x", "att-s390x"))
	built := copytest.RegistryAt(t, src.Registry, "built")
	built.Push(withSubjects, "v1", "flat")
	sys := *e.Sys
	sys.CompressionFormat = &compression.Zstd
	zstd := func(o copy.Options) copy.Options {
		o.ImageListSelection, o.DestinationCtx = copy.CopySpecificImages, &sys
		return o
	}
	docker := func(o copy.Options) copy.Options {
		o.ImageListSelection, o.ForceManifestMIMEType = copy.CopySpecificImages, manifest.DockerV2Schema2MediaType
		return o
	}
	amd64, both := copytest.Platforms("linux/amd64"), copytest.Platforms("linux/amd64", "linux/arm64")
	for name, c := range map[string]struct {
		from    copytest.RegistryPlace
		options copy.Options
		copied  int    // entries
		warning string // the report has one with this
		void    string // the report says so of something
		err     error  // of the type of it
	}{
		"attestations follow": {
			from: src, options: zstd(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.StripSparseManifestList}),
			copied: 2, void: "the attestation ",
		},
		"attestations are dropped": {
			from: src, options: zstd(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.StripSparseManifestList, Attestations: copy.DropAttestations}),
			copied: 1,
		},
		"attestations cannot follow": {
			from: src, options: docker(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.StripSparseManifestList}),
			copied: 1, warning: "attestations are left behind (1)",
		},
		"attestations have to follow": {
			from: src, options: docker(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.StripSparseManifestList, Attestations: copy.FollowSubject}),
			copied: 1, warning: "attestations are left behind (1)",
		},
		"attestations with subjects cannot": {
			from: built, options: docker(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.StripSparseManifestList, Attestations: copy.FollowSubject}),
			copied: 1, warning: "attestations are left behind (1)",
		},
		"attestations with subjects, all": {
			from: built, options: copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: copy.StripSparseManifestList, ForceManifestMIMEType: manifest.DockerV2Schema2MediaType},
			copied: 3, warning: "attestations are left behind (3)",
		},
		"missing": {from: sparse, options: zstd(copy.Options{InstancePlatforms: both}), err: new(copy.MissingError)},
		"missing, skipped": {
			from: sparse, options: zstd(copy.Options{InstancePlatforms: both, MissingInstances: copy.SkipMissing, SparseManifestListAction: copy.StripSparseManifestList}),
			copied: 2, void: "the attestation ",
		},
		"required":             {from: src, options: zstd(copy.Options{InstancePlatforms: amd64, RequiredPlatforms: amd64, Attestations: copy.DropAttestations, SparseManifestListAction: copy.StripSparseManifestList}), copied: 1},
		"required, not there":  {from: src, options: zstd(copy.Options{InstancePlatforms: amd64, RequiredPlatforms: both}), err: new(copy.RequiredError)},
		"required, is missing": {from: sparse, options: zstd(copy.Options{InstancePlatforms: both, RequiredPlatforms: both, MissingInstances: copy.SkipMissing}), err: new(copy.RequiredError)},
		"auto":                 {from: src, options: zstd(copy.Options{InstancePlatforms: amd64, SparseManifestListAction: copy.AutoSparseManifestList}), copied: 6, void: "the attestation "},
	} {
		t.Run(name, func(t *testing.T) {
			dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
			r, err := e.Image(t.Context(), dst.Ref("v1"), c.from.Ref("v1"), c.options)
			if c.err != nil {
				require.Error(t, err)
				assert.IsType(t, c.err, err)
				assert.Empty(t, dst.Top("v1"))
				return
			}
			require.NoError(t, err)
			content, mediaType, ok := dst.Manifest(dst.Repo, "v1")
			require.True(t, ok)
			list, err := manifest.ListFromBlob(content, mediaType)
			require.NoError(t, err)
			assert.Len(t, list.Instances(), c.copied)
			if c.warning == "" {
				assert.Empty(t, r.Warnings)
			}
			assert.Contains(t, strings.Join(r.Warnings, "\n"), c.warning)
			assert.Contains(t, strings.Join(r.Void, "\n"), c.void)
		})
	}
}
