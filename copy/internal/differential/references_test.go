package differential

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/blobcache"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// wrappedTransports are those with references that could be seen through.
var wrappedTransports = []string{"docker", "oci", "oci-archive", "dir"}

// A countedRef is one of another package, which wants to know when it is opened.
type countedRef struct {
	types.ImageReference
	sources, destinations *int
}

func (c countedRef) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	*c.sources++
	return c.ImageReference.NewImageSource(ctx, sys)
}

func (c countedRef) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	*c.destinations++
	return c.ImageReference.NewImageDestination(ctx, sys)
}

// TestWrappedReferencesAreOpened copies from and to references of another package: whatever these
// do when they are opened is done.
func TestWrappedReferencesAreOpened(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for _, wrapped := range wrappedTransports {
		for selection, o := range map[string]copy.Options{
			"system": {}, "all": {ImageListSelection: copy.CopyAllImages},
			"strip": {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList},
		} {
			t.Run(wrapped+"/"+selection+"/source", func(t *testing.T) {
				c := newFixedCase(t, "oci", o)
				c.from, c.fixture, c.source = wrapped, f, imagetest.Top
				var sources int
				src := c.newSource()
				theirs, ours := c.upstreams(src), c.ours(countedRef{src, &sources, nil}, c.options)
				assert.Equal(t, 1, sources)
				assert.Equal(t, copy.Upstream, ours.plan.Way)
				assert.Empty(t, c.compare(theirs, ours))
			})
			t.Run(wrapped+"/"+selection+"/destination", func(t *testing.T) {
				c := newFixedCase(t, wrapped, o)
				var destinations int
				src := copytest.Places["layout"](t)
				src.Push(f, "v1", imagetest.Top)
				theirs := c.upstreams(src.Ref("v1"))
				c.wrap = func(ref types.ImageReference) types.ImageReference { return countedRef{ref, new(int), &destinations} }
				ours := c.ours(src.Ref("v1"), c.options)
				assert.Equal(t, 1, destinations)
				assert.Empty(t, c.compare(theirs, ours))
			})
		}
	}
}

// TestBlobCacheLikeUpstream copies through upstream's own kind of such references, which keeps what
// passes, and hands it out in its own way.
func TestBlobCacheLikeUpstream(t *testing.T) {
	f := cryptFixture() // with a layer that is not compressed
	for _, transport := range wrappedTransports {
		for name, compress := range map[string]types.LayerCompression{"keep": types.PreserveOriginal, "compress": types.Compress, "decompress": types.Decompress} {
			t.Run(transport+"/"+name, func(t *testing.T) {
				caches := [2][]string{}
				var results [2]outcome
				for i := range results {
					cache := t.TempDir()
					wrap := func(ref types.ImageReference) types.ImageReference {
						wrapped, err := blobcache.NewBlobCache(ref, cache, compress)
						require.NoError(t, err)
						return wrapped
					}
					run := func(c *diffCase, src types.ImageReference) outcome {
						if i == 0 {
							return c.upstreams(src)
						}
						return c.ours(src, c.options)
					}
					src := copytest.Places["layout"](t)
					src.Push(f, "v1", "arm64")
					filling := newFixedCase(t, transport, copy.Options{})
					filling.wrap = wrap
					require.NoError(t, run(filling, src.Ref("v1")).err)
					caches[i] = copytest.FileLines(t, cache)

					reading := newFixedCase(t, "dir", copy.Options{})
					reading.from, reading.fixture, reading.source = transport, f, "arm64"
					results[i] = run(reading, wrap(reading.newSource()))
				}
				assert.Equal(t, caches[0], caches[1])
				assert.NotEmpty(t, caches[1])
				require.NoError(t, results[1].err)
				assert.Empty(t, compareOutcomes(results[0], results[1]))
			})
		}
	}
}

// TestUnknownDigestLikeUpstream writes to a repository without a tag.
func TestUnknownDigestLikeUpstream(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for selection, o := range map[string]copy.Options{
		"system": {}, "all": {ImageListSelection: copy.CopyAllImages}, "converted": {ForceManifestMIMEType: manifest.MediaTypeDockerManifest},
	} {
		t.Run(selection, func(t *testing.T) {
			c := newFixedCase(t, "docker", o)
			c.wrap = func(ref types.ImageReference) types.ImageReference {
				unknown, err := docker.NewReferenceUnknownDigest(reference.TrimNamed(ref.DockerReference()))
				require.NoError(t, err)
				return unknown
			}
			src := copytest.Places["layout"](t)
			src.Push(f, "v1", imagetest.Top)
			theirs, ours := c.upstreams(src.Ref("v1")), c.ours(src.Ref("v1"), c.options)
			require.NoError(t, ours.err)
			assert.NotEmpty(t, ours.lines)
			if selection == "all" {
				require.ErrorContains(t, theirs.err, "can't add signatures", "upstream has stored the list, and fails to add no signatures to it")
				return
			}
			assert.Empty(t, c.compare(theirs, ours))
		})
	}
	t.Run("as a source", func(t *testing.T) {
		reg := registrytest.Start(t, registrytest.Options{})
		named, err := reference.ParseNormalizedNamed(reg.Host() + "/team/app")
		require.NoError(t, err)
		src, err := docker.NewReferenceUnknownDigest(named)
		require.NoError(t, err)
		c := newFixedCase(t, "oci", copy.Options{})
		theirs, ours := c.upstreams(src), c.ours(src, c.options)
		assert.Empty(t, c.compare(theirs, ours))
		require.Error(t, ours.err)
	})
}

// TestNoOptions copies without options, as upstream does with default ones. (Upstream itself would
// use the machine's cache.)
func TestNoOptions(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	src := copytest.Places["layout"](t)
	src.Push(f, "v1", "amd64")
	for _, to := range []string{"oci", "dir", "oci-archive"} {
		c := newFixedCase(t, to, copy.Options{})
		theirs, ours := c.upstreams(src.Ref("v1")), c.newDestination()
		require.NoError(t, theirs.err)
		copied, err := copy.Image(t.Context(), c.e.Policy, ours.ref, src.Ref("v1"), nil)
		require.NoError(t, err)
		assert.Equal(t, string(theirs.copied), string(copied))
		assert.Empty(t, compareLines(theirs.lines, ours.lines()))
	}
}
