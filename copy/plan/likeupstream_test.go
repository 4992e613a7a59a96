package plan_test

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	upstream "go.podman.io/image/v5/copy"
	upstreammanifest "go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestListsLikeUpstream copies lists with upstream, tells the planner what became of each image,
// and expects of it the list that upstream has written: byte for byte if that was converted, and
// otherwise as upstream's own writer has it.
func TestListsLikeUpstream(t *testing.T) {
	docker, zstdTwins := imagetest.Docker(), imagetest.New()
	zstdTwins.Layer("gz", imagetest.Random(1, 100))
	zstdTwins.Layer("zst", imagetest.Random(2, 100), imagetest.Zstd())
	for _, p := range []string{"linux/amd64", "linux/arm64", "linux/s390x"} {
		zstdTwins.Image(p, imagetest.Platform(p), imagetest.Layers("gz"))
	}
	zstdTwins.Image("twin", imagetest.Platform("linux/amd64"), imagetest.Layers("zst"))
	zstdTwins.List(imagetest.Top, imagetest.Entry("linux/amd64"), imagetest.Entry("twin", imagetest.ZstdEntry()), imagetest.Entry("linux/arm64"),
		imagetest.Entry("linux/s390x", imagetest.Annotation("org.example", "<é>"), imagetest.OSVersion("10"), imagetest.OSFeatures("b", "a")))
	plain := imagetest.New()
	plain.Layer("plain", imagetest.Random(1, 100), imagetest.Uncompressed())
	plain.Image("amd64", docker, imagetest.Platform("linux/amd64"), imagetest.Layers("plain"))
	plain.Layer("other", imagetest.Random(2, 100), imagetest.Uncompressed()) // nothing that upstream has compressed serves both
	plain.Image("none", docker, imagetest.Layers("other"))
	plain.List(imagetest.Top, docker, imagetest.Entry("amd64"), imagetest.Entry("none", imagetest.NoPlatform()))
	unmarked := imagetest.New()
	unmarked.Layer("zst", imagetest.Random(2, 100), imagetest.Zstd())
	unmarked.Layer("gz", imagetest.Random(1, 100))
	unmarked.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("zst"))
	unmarked.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("gz"))
	unmarked.List(imagetest.Top, imagetest.Entries("amd64", "arm64"), imagetest.Annotation("org.example", "a"))

	oci, registry := []string{imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex}, []string(nil)
	for name, tc := range map[string]likeUpstream{
		"Docker to a layout":                  {imagetest.Platforms(16, 1, 10, docker), upstream.Options{}, nil, oci},
		"Docker, indented, to a layout":       {imagetest.Platforms(3, 2, 10, docker, imagetest.Indent("   ")), upstream.Options{}, nil, oci},
		"Docker, uncompressed, to a layout":   {plain, upstream.Options{}, nil, oci},
		"OCI, forced to be Docker's":          {imagetest.Platforms(3, 1, 10), upstream.Options{ForceManifestMIMEType: manifest.MediaTypeDockerManifest}, nil, registry},
		"Docker, forced to be OCI's":          {imagetest.Platforms(3, 1, 10, docker), upstream.Options{ForceManifestMIMEType: imgspecv1.MediaTypeImageManifest}, nil, registry},
		"zstd":                                {imagetest.Platforms(3, 1, 100), upstream.Options{}, &compression.Zstd, registry},
		"zstd of some":                        {unmarked, upstream.Options{}, &compression.Zstd, registry},
		"Docker with zstd":                    {imagetest.Platforms(2, 1, 100, docker), upstream.Options{}, &compression.Zstd, registry},
		"variants":                            {imagetest.Platforms(3, 1, 100), variants(compression.Zstd), nil, registry},
		"variants, gzip first":                {imagetest.Platforms(3, 1, 100), variants(compression.Gzip, compression.Zstd), nil, registry},
		"variants of some":                    {zstdTwins, variants(compression.Zstd), nil, registry},
		"variants of a Docker list":           {imagetest.Platforms(3, 1, 100, docker), variants(compression.Zstd), nil, registry},
		"chunked variants":                    {imagetest.Platforms(2, 1, 100), variants(compression.ZstdChunked), nil, registry},
		"variants that need to be compressed": {plain, variants(compression.Zstd), nil, registry},
	} {
		t.Run(name, func(t *testing.T) { tc.check(t) })
	}
}

type likeUpstream struct {
	fixture *imagetest.Fixture
	options upstream.Options
	format  *compression.Algorithm
	stores  []string // of the destination: a layout's, or nil for a registry
}

func variants(algorithms ...compression.Algorithm) upstream.Options {
	var o upstream.Options
	for _, a := range algorithms {
		o.EnsureCompressionVariantsExist = append(o.EnsureCompressionVariantsExist, upstream.OptionCompressionVariant{Algorithm: a})
	}
	return o
}

func (c likeUpstream) check(t *testing.T) {
	e := copytest.NewEnv(t)
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
	if c.stores != nil {
		dst = copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	}
	src.Push(c.fixture, "v1", imagetest.Top)
	sys, o := *e.Sys, c.options
	sys.CompressionFormat = c.format
	o.ImageListSelection, o.SourceCtx, o.DestinationCtx = upstream.CopyAllImages, e.Sys, &sys
	theirs, err := upstream.Image(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &o)
	require.NoError(t, err)

	in := c.input()
	in.Transformed = c.results(t, in, theirs, readAt(t, dst.Ref("v1"), e.Sys))
	p, err := plan.New(in)
	require.NoError(t, err)
	require.NotEmpty(t, p.Digest, "%s", p)
	require.Equal(t, plan.Native, p.Way)
	ours := p.List.Written()
	if p.List.ResultType != p.List.MediaType {
		assert.Equal(t, string(theirs), string(ours), "%s", p)
	}
	assert.Equal(t, rewritten(t, theirs, p.List.ResultType), rewritten(t, ours, p.List.ResultType), "%s", p)
}

// input is what the planner is told of the copy.
func (c likeUpstream) input() plan.Input {
	in := plan.Input{
		Documents: map[digest.Digest]plan.Document{}, Digest: c.fixture.Digest(imagetest.Top),
		Choices: plan.Choices{ImageListSelection: plan.CopyAllImages, ForceManifestMIMEType: c.options.ForceManifestMIMEType},
		Way: &plan.WayFacts{
			NativeSource: true, NativeDestination: true, ForeignStay: true,
			Stores: c.stores, Layers: plan.CompressLayers,
		},
	}
	for _, d := range c.fixture.Manifests(imagetest.Top) {
		b, mediaType := c.fixture.Document(c.fixture.Name(d))
		in.Documents[d] = plan.Document{MediaType: mediaType, Bytes: b}
	}
	in.Top = in.Documents[in.Digest]
	if c.format != nil {
		in.Way.CompressionFormat = c.format.Name()
	}
	for _, v := range c.options.EnsureCompressionVariantsExist {
		in.Way.Variants = append(in.Way.Variants, v.Algorithm.Name())
	}
	return in
}

// results says what became of the images that the planner wants to be transformed, by the list that
// upstream has written: its entries are in the order of the source, but for those that need zstd
// where variants were added, and their images have the configs that they had.
func (c likeUpstream) results(t *testing.T, in plan.Input, theirs []byte, read func(digest.Digest) []byte) map[plan.TransformKey]plan.Document {
	p, err := plan.New(in)
	require.NoError(t, err)
	list, err := manifest.Parse(theirs, "")
	require.NoError(t, err)
	type image struct {
		platform string
		zstd     bool
	}
	none, made := &imgspecv1.Platform{}, map[image]plan.Document{}
	for _, instance := range list.Instances() {
		doc := plan.Document{MediaType: instance.MediaType, Bytes: read(instance.Digest)}
		made[image{fmt.Sprint(cmp.Or(instance.Platform, none)), needsZstd(t, doc)}] = doc
	}
	platforms := map[digest.Digest]string{}
	top, err := manifest.Parse(in.Top.Bytes, in.Top.MediaType)
	require.NoError(t, err)
	for _, instance := range top.Instances() {
		platforms[instance.Digest] = fmt.Sprint(cmp.Or(instance.Platform, none))
	}
	results := map[plan.TransformKey]plan.Document{}
	for _, tr := range p.Transforms() {
		isZstd := tr.Format != "" && tr.Format != "gzip"
		if tr.Format == "" {
			isZstd = c.format != nil || needsZstd(t, in.Documents[tr.Digest])
		}
		doc, ok := made[image{platforms[tr.Digest], isZstd}]
		require.True(t, ok, "%v: %s\n%s", tr, p, theirs)
		results[tr.Key()] = doc
	}
	return results
}

func needsZstd(t *testing.T, doc plan.Document) bool {
	image, err := manifest.ParseImage(doc.Bytes, doc.MediaType)
	require.NoError(t, err)
	return slices.ContainsFunc(image.Layers, func(l manifest.Descriptor) bool { return l.MediaType == imgspecv1.MediaTypeImageLayerZstd })
}

// readAt reads manifests of what a reference names.
func readAt(t *testing.T, ref types.ImageReference, sys *types.SystemContext) func(digest.Digest) []byte {
	src, err := ref.NewImageSource(context.Background(), sys)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, src.Close()) })
	return func(d digest.Digest) []byte {
		b, _, err := src.GetManifest(context.Background(), &d)
		require.NoError(t, err)
		return b
	}
}

// rewritten is a list as upstream writes it.
func rewritten(t *testing.T, list []byte, mediaType string) string {
	parsed, err := upstreammanifest.ListFromBlob(list, mediaType)
	require.NoError(t, err)
	b, err := parsed.Serialize()
	require.NoError(t, err)
	return string(b)
}
