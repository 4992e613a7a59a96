package syncfile

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
)

func TestSystem(t *testing.T) {
	f, err := parse(`
defaults: {destination: "docker://m.example/{repository}", platforms: [linux/amd64], required: [linux/amd64], sparse: strip, single: skip, attach-original: true}
images:
- {source: docker://quay.io/a:1, system: linux/arm/v7}
- {source: docker://quay.io/b:1, system: native, referrers: true}
- {source: docker://quay.io/c:1, system: linux/x86_64}
- {source: docker://quay.io/d:1, system: none}
- {source: docker://quay.io/e:1}
`)
	require.NoError(t, err)
	chosen := func(i *Image) []string {
		sys := i.SourceContext(&types.SystemContext{AuthFilePath: "/auth.json"})
		assert.Equal(t, "/auth.json", sys.AuthFilePath)
		return []string{sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice}
	}
	for i, want := range [][]string{{"linux", "arm", "v7"}, {"", "", ""}, {"linux", "amd64", ""}} {
		image := f.Images[i]
		assert.Equal(t, want, chosen(image))
		assert.Equal(t, copy.CopySystemImage, image.Options.ImageListSelection)
		assert.Empty(t, image.Options.InstancePlatforms)
		assert.Empty(t, image.Options.RequiredPlatforms)
		assert.False(t, image.Options.AttachOriginal)
		assert.Equal(t, CheckSingle, image.Single)
	}
	assert.Equal(t, copy.CopySpecificImages, f.Images[3].Options.ImageListSelection)
	assert.Equal(t, f.Images[4].Settings, f.Images[3].Settings, "none is as if there were no key")
	assert.NotEqual(t, f.Images[0].Settings, f.Images[2].Settings)

	f, err = parse(`
defaults: {destination: "docker://m.example/{repository}", system: native, sparse: strip}
images:
- {source: docker://quay.io/a:1}
- {source: docker://quay.io/b:1, platforms: []}
- {source: docker://quay.io/c:1, optional: [linux/amd64]}
- {source: docker://quay.io/d:1, system: "` + runtime.GOOS + "/" + runtime.GOARCH + `"}
`)
	require.NoError(t, err)
	assert.Equal(t, copy.CopySystemImage, f.Images[0].Options.ImageListSelection)
	assert.Equal(t, copy.KeepSparseManifestList, f.Images[0].Options.SparseManifestListAction)
	assert.Equal(t, copy.CopyAllImages, f.Images[1].Options.ImageListSelection)
	assert.Equal(t, copy.StripSparseManifestList, f.Images[1].Options.SparseManifestListAction)
	assert.Equal(t, copy.CopySpecificImages, f.Images[2].Options.ImageListSelection)
	assert.NotEqual(t, f.Images[0].Settings, f.Images[3].Settings, "native is another image on another machine")

	for keys, want := range map[string]string{
		"system: linux":                        `f.yaml:1: system: write OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64, native for this machine's, or none, not "linux"`,
		"system: 'linux/*'":                    "f.yaml:1: system: write OS/ARCH",
		"system: '!linux/arm64'":               "f.yaml:1: system: write OS/ARCH",
		"system: linux/arm64/v8/x":             "f.yaml:1: system: write OS/ARCH",
		"system: windows/amd64:10.0":           "f.yaml:1: system: write OS/ARCH",
		"system: [linux/arm64]":                "f.yaml:1: system must be a text",
		"system: native, sparse: strip":        "f.yaml:1: sparse has no effect with system, by which one image is copied and no list",
		"system: native, platforms: []":        "f.yaml:1: platforms has no effect with system",
		"system: native, attach-original: no":  "f.yaml:1: attach-original has no effect with system",
		"system: native, required: [linux/s9]": "f.yaml:1: required has no effect with system",
	} {
		_, err := parse("images: [{source: docker://quay.io/a:1, destination: docker://m.example/a, " + keys + "}]")
		assert.ErrorContains(t, err, want, keys)
	}
}
