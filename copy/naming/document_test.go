package naming_test

import (
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/naming"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func filter(t *testing.T, text string) *copy.InstancePlatformFilter {
	t.Helper()
	if text == "" {
		return nil
	}
	f, err := copy.ParsePlatformFilter(text)
	require.NoError(t, err)
	return &f
}

// TestManifest chooses images of lists of every kind, in a registry and in a layout.
func TestManifest(t *testing.T) {
	twins := imagetest.New()
	for _, name := range []string{"gzip", "zstd"} {
		twins.Image(name, imagetest.Platform("linux/amd64"), imagetest.Annotation("twin", name))
	}
	twins.List(imagetest.Top, imagetest.Entries("gzip", "zstd"))
	for name, c := range map[string]struct {
		fixture  *imagetest.Fixture
		platform string
		want     string // by its name
	}{
		"what is named":           {imagetest.Platforms(3, 1, 10), "", imagetest.Top},
		"an image":                {imagetest.Platforms(3, 1, 10), "linux/arm64", "arm64"},
		"no attestation":          {imagetest.WithAttestations(), "*/amd64", "amd64"},
		"of a nested list":        {imagetest.Nested(), "linux/arm64", "arm64"},
		"of a Docker list":        {imagetest.DockerList(), "linux/arm64", "arm64"},
		"the first of equals":     {twins, "linux/amd64", "gzip"},
		"whatever is spelled so":  {imagetest.Platforms(3, 1, 10), "linux/aarch64", "arm64"},
		"one of a variant":        {imagetest.Platforms(6, 1, 10), "linux/arm/v7", "arm/v7"},
		"one of any architecture": {imagetest.Platforms(1, 1, 10), "linux/*", "amd64"},
	} {
		t.Run(name, func(t *testing.T) {
			e, names := registries(t)
			r := registrytest.Start(t, registrytest.Options{})
			dir := t.TempDir()
			places := []copytest.Place{copytest.RegistryAt(t, r, app), copytest.LayoutAt(t, dir)}
			for _, at := range places {
				at.Push(c.fixture, "v1", imagetest.Top)
				options := &naming.DocumentOptions{SystemContext: e.Sys, Platform: filter(t, c.platform), Side: copy.DestinationSide}
				doc, err := names.Manifest(t.Context(), at.Ref("v1"), options)
				require.NoError(t, err)
				bytes, _ := c.fixture.Document(c.want)
				assert.Equal(t, c.fixture.Name(c.fixture.Digest(c.want)), c.fixture.Name(doc.Digest))
				assert.Equal(t, string(bytes), string(doc.Bytes))
			}
		})
	}
}

// TestConfig reads configs, of single images and of lists.
func TestConfig(t *testing.T) {
	e, names := registries(t)
	r := registrytest.Start(t, registrytest.Options{})
	f := imagetest.Platforms(3, 1, 10)
	f.PushTo(r, app, "list", imagetest.Top)
	f.PushTo(r, app, "image", "arm64")
	alone := imagetest.New()
	alone.Image("chart", imagetest.NoPlatform())
	alone.List(imagetest.Top, imagetest.Entries("chart"))
	alone.PushTo(r, app, "alone", imagetest.Top)
	for ref, platform := range map[string]string{"list": "linux/arm64", "image": "", "alone": ""} {
		doc, err := names.Config(t.Context(), copytest.RegistryRef(t, r, app, ref), &naming.DocumentOptions{SystemContext: e.Sys, Platform: filter(t, platform)})
		require.NoError(t, err, ref)
		assert.Equal(t, imgspecv1.MediaTypeImageConfig, doc.MediaType)
		assert.Equal(t, doc.Digest, digest.FromBytes(doc.Bytes))
		want, _ := r.Blob(app, doc.Digest)
		assert.Equal(t, string(want), string(doc.Bytes))
	}
}

// TestChoosingFails says what there is.
func TestChoosingFails(t *testing.T) {
	e, names := registries(t)
	r := registrytest.Start(t, registrytest.Options{})
	f := imagetest.Platforms(6, 1, 10)
	f.PushTo(r, app, "list", imagetest.Top, "arm64")
	f.PushTo(r, app, "image", "amd64")
	empty := imagetest.New()
	empty.List(imagetest.Top)
	empty.PushTo(r, app, "empty", imagetest.Top)
	ask := func(ref, platform string) (manifest, config error) {
		t.Helper()
		options := &naming.DocumentOptions{SystemContext: e.Sys, Platform: filter(t, platform)}
		_, manifest = names.Manifest(t.Context(), copytest.RegistryRef(t, r, app, ref), options)
		_, config = names.Config(t.Context(), copytest.RegistryRef(t, r, app, ref), options)
		return manifest, config
	}

	of, config := ask("list", "windows/amd64")
	for _, err := range []error{of, config} {
		no := copytest.ErrorAs[*copy.NoMatchError](t, err)
		assert.Equal(t, []string{"windows/amd64"}, no.Asked)
		assert.Contains(t, no.Offered, "linux/arm/v7")
		assert.Equal(t, copy.SourceSide, copytest.ErrorAs[*copy.Error](t, err).Side)
	}
	of, config = ask("list", "linux/*")
	for _, err := range []error{of, config} {
		several := copytest.ErrorAs[*naming.AmbiguousError](t, err)
		assert.Len(t, several.Platforms, 6)
		assert.ErrorContains(t, err, "choose the platform, one of linux/amd64, linux/arm64")
	}
	of, config = ask("list", "")
	require.NoError(t, of)
	copytest.ErrorAs[*naming.AmbiguousError](t, config)
	of, config = ask("list", "linux/arm64")
	for _, err := range []error{of, config} {
		require.ErrorIs(t, err, copy.ErrNotFound, "the list is sparse")
		assert.ErrorContains(t, err, "image "+f.Digest("arm64").String()+" of the list")
	}
	of, config = ask("image", "linux/arm64")
	for _, err := range []error{of, config} {
		assert.Equal(t, []string{"linux/amd64"}, copytest.ErrorAs[*copy.NoMatchError](t, err).Offered)
	}
	of, config = ask("empty", "")
	require.NoError(t, of)
	require.ErrorContains(t, config, "names no image")
	of, config = ask("absent", "")
	require.ErrorIs(t, of, copy.ErrNotFound)
	require.ErrorIs(t, config, copy.ErrNotFound)
}
