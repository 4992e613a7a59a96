package copy_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// nestedSystems has images in nested lists, where only the entries of those say what they are for.
func nestedSystems() *imagetest.Fixture {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Attestation("provenance", "amd64")
	f.Image("arm64", imagetest.Platform("linux/arm64"))
	f.Image("v6", imagetest.Platform("linux/arm/v6"))
	f.Image("v7", imagetest.Platform("linux/arm/v7"))
	f.Image("windows", imagetest.Platform("windows/amd64"))
	f.Image("lost", imagetest.Platform("linux/riscv64"))
	f.List("innermost", imagetest.Entry("arm64", imagetest.NoPlatform()))
	f.List("inner", imagetest.Entries("innermost"))
	f.List("arms", imagetest.Entries("v6", "v7"))
	f.List("contradicted", imagetest.Entries("windows"))
	f.List("gone", imagetest.Entries("lost"))
	f.List(imagetest.Top,
		imagetest.Entry("inner", imagetest.Platform("linux/arm64")), imagetest.Entries("provenance", "amd64"),
		imagetest.Entry("arms", imagetest.Platform("linux/arm")), imagetest.Entry("contradicted", imagetest.Platform("linux/s390x")),
		imagetest.Entry("gone", imagetest.Platform("linux/riscv64")))
	return f
}

// TestSystemImageOfNestedLists chooses by the platforms that select, from all lists, whoever does
// the work.
func TestSystemImageOfNestedLists(t *testing.T) {
	e := copytest.NewEnv(t)
	f := nestedSystems()
	for name, c := range map[string]struct{ os, arch, variant, want, err string }{
		"inherited":         {"linux", "arm64", "", "arm64", ""},
		"beside the lists":  {"linux", "amd64", "", "amd64", ""},
		"refined":           {"linux", "arm", "v7", "v7", ""},
		"refined, the best": {"linux", "arm", "v6", "v6", ""},
		"contradicted":      {"linux", "s390x", "", "windows", ""},
		"nobody's":          {"windows", "amd64", "", "", "no image found in image index"},
		"in a lost list":    {"linux", "riscv64", "", "", "missing at the source: " + f.Digest("gone").String() + " (linux/riscv64)"},
		"perhaps in one":    {"plan9", "386", "", "", "it may be in a nested list that is missing at the source: " + f.Digest("gone").String()},
	} {
		t.Run(name, func(t *testing.T) {
			sys := *e.Sys
			sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = c.os, c.arch, c.variant
			for _, place := range []string{"registry", "layout"} {
				src := copytest.Places[place](t)
				src.Push(f, "v1", imagetest.Top, "gone")
				dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{SourceCtx: &sys})
				if c.err != "" {
					require.ErrorContains(t, err, c.err)
					assert.Empty(t, dst.Snapshot(dst.Repo))
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, f.Digest(c.want), r.DestinationDigest)
				assert.Equal(t, c.os+"/"+c.arch, r.Plan.Image.Platform[:len(c.os+"/"+c.arch)])
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(c.want), Fixture: f})
				v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(copy.Options{SourceCtx: &sys})})
				require.NoError(t, err)
				assert.Empty(t, v.Violations)

				// Upstream is handed that image, and not left to choose.
				archive, err := dockerarchive.ParseReference(filepath.Join(t.TempDir(), "archive.tar") + ":example.com/app:v1")
				require.NoError(t, err)
				r, err = e.Image(t.Context(), archive, src.Ref("v1"), copy.Options{SourceCtx: &sys})
				require.NoError(t, err)
				assert.Equal(t, copy.Upstream, r.Plan.Way)
				img, err := archive.NewImage(t.Context(), &sys)
				require.NoError(t, err)
				config, err := img.ConfigBlob(t.Context())
				require.NoError(t, err)
				assert.Equal(t, string(f.Content(c.want+".config")), string(config))
				require.NoError(t, img.Close())
			}
		})
	}
}

// TestInspectNestedPlatforms says of each image the platform by which it is selected.
func TestInspectNestedPlatforms(t *testing.T) {
	e := copytest.NewEnv(t)
	f := nestedSystems()
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	found, err := copy.Inspect(t.Context(), src.Ref("v1"), &copy.ReadOptions{SystemContext: e.Sys})
	require.NoError(t, err)
	inner, arms, contradicted := found.Entries[0], found.Entries[3], found.Entries[4]
	assert.Equal(t, "linux/arm64", inner.Entries[0].Platform)
	assert.Equal(t, "linux/arm64", inner.Entries[0].Entries[0].Platform)
	assert.Equal(t, "linux/arm/v7", arms.Entries[1].Platform)
	assert.Equal(t, "linux/s390x", contradicted.Entries[0].Platform)
}

// TestSystemImageThatIsAList finds out, when it is read, that an entry takes a list for an image.
func TestSystemImageThatIsAList(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.List("inner", imagetest.Entries("amd64"))
	f.List(imagetest.Top, imagetest.Entry("inner", imagetest.Platform("linux/amd64"), imagetest.EntryMediaType("application/vnd.oci.image.manifest.v1+json")))
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{SourceCtx: linuxAmd64(e.Sys)})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
}

func linuxAmd64(sys *types.SystemContext) *types.SystemContext {
	out := *sys
	out.OSChoice, out.ArchitectureChoice = "linux", "amd64"
	return &out
}
