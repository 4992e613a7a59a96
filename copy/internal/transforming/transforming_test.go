package transforming_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/pkg/compression"
	compressiontypes "go.podman.io/image/v5/pkg/compression/types"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// images has images whose layers are compressed in all ways, some large, some twice. Of the large
// ones a fifth is random: zstd:chunked begins anew, which is dear, after every 64 KiB of that.
func images() *imagetest.Fixture {
	f := imagetest.New()
	f.Layer("plain", imagetest.File("etc/motd", strings.Repeat("hello\n", 3000)), imagetest.Uncompressed())
	large := imagetest.File("large", strings.Repeat("large\n", 1<<20/6))
	f.Layer("large plain", imagetest.Random(1, 1<<18), large, imagetest.Uncompressed())
	f.Layer("gzip", imagetest.File("gzip", strings.Repeat("gzip\n", 2000)))
	f.Layer("large gzip", imagetest.Random(2, 1<<18), large)
	f.Layer("zstd", imagetest.File("zstd", strings.Repeat("zstd\n", 2000)), imagetest.Zstd())
	f.Layer("elsewhere", imagetest.Random(3, 1000), imagetest.Foreign("http://127.0.0.1:1/layer"))
	f.Image("oci", imagetest.Platform("linux/amd64"), imagetest.Layers("plain", "gzip", "zstd", "plain", "large plain", "large gzip"))
	f.Image("docker", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Layers("plain", "gzip", "large plain"))
	f.Image("foreign", imagetest.Docker(), imagetest.Platform("linux/amd64"), imagetest.Layers("elsewhere", "plain"))
	f.Image("compressed", imagetest.Platform("linux/amd64"), imagetest.Layers("gzip", "large gzip"))
	f.Image("empty", imagetest.Platform("linux/amd64"), imagetest.Layers())
	f.Artifact("artifact")
	return f
}

// compressedAs returns a destination's context that asks for a compression.
func compressedAs(e *copytest.Env, format compressiontypes.Algorithm, level int) *types.SystemContext {
	sys := *e.Sys
	sys.CompressionFormat = &format
	if level != 0 {
		sys.CompressionLevel = &level
	}
	return &sys
}

// TestNothingIsNotedInTheBlobInfoCache of containers/image, which would be of no use to anybody.
func TestNothingIsNotedInTheBlobInfoCache(t *testing.T) {
	f := images()
	e := copytest.NewEnv(t)
	reg := registrytest.Start(t, registrytest.Options{})
	f.PushTo(reg, "lib/app", "v1", "oci")
	require.NoError(t, os.Remove(e.Sys.BlobInfoCacheDir))
	b := newBench(t, e, copytest.RegistryRef(t, reg, "lib/app", "v1"), copytest.RegistryRef(t, reg, "lib/copy", "v1"), 4)
	_, err := b.transform(t.Context(), "", upstream.Options{})
	require.NoError(t, err)
	assert.NoDirExists(t, e.Sys.BlobInfoCacheDir)
}

// ownLevel is zstd:chunked at the level that it has by itself, which takes some encoders of 50 MiB
// for each layer.
const ownLevel = "zstd:chunked at its own level"

// TestLikeUpstream transforms images, and compares with upstream's own copies.
func TestLikeUpstream(t *testing.T) {
	f := images()
	reg := registrytest.Start(t, registrytest.Options{})
	done, failed := 0, 0
	for _, name := range []string{"oci", "docker", "foreign", "compressed", "empty", "artifact"} {
		f.PushTo(reg, "lib/app", name, name)
		for option, set := range map[string]func(*copytest.Env, *upstream.Options){
			"nothing": func(*copytest.Env, *upstream.Options) {},
			"zstd":    func(e *copytest.Env, o *upstream.Options) { o.DestinationCtx = compressedAs(e, compression.Zstd, 0) },
			"zstd forced": func(e *copytest.Env, o *upstream.Options) {
				o.DestinationCtx, o.ForceCompressionFormat = compressedAs(e, compression.Zstd, 9), true
			},
			"zstd:chunked": func(e *copytest.Env, o *upstream.Options) {
				o.DestinationCtx, o.ForceCompressionFormat = compressedAs(e, compression.ZstdChunked, 1), true
			},
			ownLevel: func(e *copytest.Env, o *upstream.Options) {
				o.DestinationCtx, o.ForceCompressionFormat = compressedAs(e, compression.ZstdChunked, 0), true
			},
			"gzip forced": func(e *copytest.Env, o *upstream.Options) {
				o.DestinationCtx, o.ForceCompressionFormat = compressedAs(e, compression.Gzip, 1), true
			},
			"bzip2":  func(e *copytest.Env, o *upstream.Options) { o.DestinationCtx = compressedAs(e, compression.Bzip2, 0) },
			"OCI":    func(_ *copytest.Env, o *upstream.Options) { o.ForceManifestMIMEType = imgspecv1.MediaTypeImageManifest },
			"Docker": func(_ *copytest.Env, o *upstream.Options) { o.ForceManifestMIMEType = manifest.MediaTypeDockerManifest },
			"Docker zstd": func(e *copytest.Env, o *upstream.Options) {
				o.ForceManifestMIMEType, o.DestinationCtx = manifest.MediaTypeDockerManifest, compressedAs(e, compression.Zstd, 0)
			},
			"digests stay": func(_ *copytest.Env, o *upstream.Options) { o.PreserveDigests = true },
			"decompressed": func(e *copytest.Env, o *upstream.Options) {
				sys := *e.Sys
				sys.DirForceDecompress = true
				o.DestinationCtx = &sys
			},
			"compressed": func(e *copytest.Env, o *upstream.Options) {
				sys := *e.Sys
				sys.DirForceCompress = true
				o.DestinationCtx = &sys
			},
		} {
			for _, to := range []string{"docker", "oci", "dir"} {
				if name == "foreign" && to == "dir" {
					continue // upstream asks the URL, which we do only where that is wanted
				}
				if name != "foreign" && option == ownLevel {
					continue // it has the fewest layers
				}
				if !slices.Contains([]string{"oci", "docker", "foreign"}, name) && !strings.HasPrefix(option, "zstd") && option != "nothing" {
					continue
				}
				t.Run(name+"/"+option+"/"+to, func(t *testing.T) {
					e := copytest.NewEnv(t)
					var o upstream.Options
					set(e, &o)
					src := copytest.RegistryRef(t, reg, "lib/app", name)
					want, theirErr := theirs(t, e, src, newPlace(t, to, registrytest.Options{}).ref(), o)

					p := newPlace(t, to, registrytest.Options{})
					b := newBench(t, e, src, p.ref(), 1)
					got, err := b.transform(t.Context(), "", o)
					if theirErr != nil {
						failed++
						require.ErrorContains(t, err, theirErr.Error())
						return
					}
					done++
					require.NoError(t, err)
					require.Equal(t, string(want), string(got.Document.Bytes))
					assert.Equal(t, digest.FromBytes(want), got.Document.Digest)
					if to == "docker" {
						assert.Empty(t, p.reg.Tags(p.repo), "the tag is not ours to write")
					}
					p.published(b, got.Document)
					checkBlobs(t, b, got.Document.Digest, p.ref())
				})
			}
		}
	}
	assert.Greater(t, done, 80)
	assert.Greater(t, failed, 5)
}
