package plan

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	byItself  digest.Digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	byVariant digest.Digest = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// originInput is a copy of a list with an entry that has annotations, whose image is transformed
// and gets a variant; both are known. Another one is carried.
func originInput(listType string) (in Input, image digest.Digest) {
	plain, other := imageOf(ociImage, ociConfig, plainLayer), imageOf(ociImage, ociConfig, gzipLayer)
	image = digest.FromBytes(plain)
	entry := func(doc []byte, arch string, more string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":%q}%s}`, ociImage, digest.FromBytes(doc), len(doc), arch, more)
	}
	in = Input{
		Top: Document{Bytes: fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, listType,
			entry(plain, "amd64", `,"annotations":{"kept":"yes","io.github.sparsecopy.transformed.from":"earlier"}`), entry(other, "arm64", ""))},
		Documents: map[digest.Digest]Document{image: {Bytes: plain}, digest.FromBytes(other): {Bytes: other}},
		Way:       transforming(func(f *WayFacts) { f.Variants = []string{zstd} }),
		Transformed: map[TransformKey]Document{
			{Digest: image}:                 {Bytes: imageOf(ociImage, ociConfig, gzipLayer, "amd64")},
			{image, zstd}:                   {Bytes: imageOf(ociImage, ociConfig, imgspecv1.MediaTypeImageLayerZstd)},
			{digest.FromBytes(other), zstd}: {Bytes: imageOf(ociImage, ociConfig, imgspecv1.MediaTypeImageLayerZstd, "arm64")},
		},
	}
	in.Choices.ImageListSelection = CopyAllImages
	return in, image
}

// annotationsOf are those of the entries of the list that is written.
func annotationsOf(t *testing.T, p *Plan) []map[string]string {
	t.Helper()
	var list imgspecv1.Index
	require.NoError(t, json.Unmarshal(p.List.Written(), &list))
	var all []map[string]string
	for _, entry := range list.Manifests {
		all = append(all, entry.Annotations)
	}
	return all
}

// TestEntriesSayWhatTheirImagesWereMadeOf, if they are to: those of images that were transformed
// and of variants, beside what they say already.
func TestEntriesSayWhatTheirImagesWereMadeOf(t *testing.T) {
	in, image := originInput(imgspecv1.MediaTypeImageIndex)
	other := mustPlan(t, in).List.Instances[1].Digest
	marked := func(more map[string]string) map[string]string {
		return with(map[string]string{manifest.AnnotationZstd: "true"}, more)
	}
	assert.Equal(t, []map[string]string{
		{"kept": "yes", manifest.AnnotationTransformedFrom: "earlier"}, nil, marked(map[string]string{"kept": "yes"}), marked(nil),
	}, annotationsOf(t, mustPlan(t, in)), "the variant was not made so")

	in.Way.Transformations = map[string]digest.Digest{"": byItself, zstd: byVariant}
	p := mustPlan(t, in)
	said := func(from, by digest.Digest) map[string]string {
		return map[string]string{manifest.AnnotationTransformedFrom: from.String(), manifest.AnnotationTransformedBy: by.String()}
	}
	assert.Equal(t, []map[string]string{
		with(said(image, byItself), map[string]string{"kept": "yes"}), nil,
		marked(with(said(image, byVariant), map[string]string{"kept": "yes"})), marked(said(other, byVariant)),
	}, annotationsOf(t, p))
	assert.Empty(t, p.Warnings)

	in.Way.Transformations = map[string]digest.Digest{zstd: byVariant}
	assert.Equal(t, "earlier", annotationsOf(t, mustPlan(t, in))[0][manifest.AnnotationTransformedFrom], "what was done cannot be said")
}

// TestOriginsOfMarkedEntries: an entry says that its image needs zstd, too.
func TestOriginsOfMarkedEntries(t *testing.T) {
	in, image := originInput(imgspecv1.MediaTypeImageIndex)
	in.Way = transforming(func(f *WayFacts) {
		f.CompressionFormat, f.Transformations = zstd, map[string]digest.Digest{"": byItself}
	})
	in.Transformed = map[TransformKey]Document{}
	for _, ip := range mustPlan(t, in).List.Instances {
		in.Transformed[TransformKey{Digest: ip.Digest}] = Document{Bytes: imageOf(ociImage, ociConfig, imgspecv1.MediaTypeImageLayerZstd, ip.Platform)}
	}
	assert.Equal(t, map[string]string{
		"kept": "yes", manifest.AnnotationZstd: "true",
		manifest.AnnotationTransformedFrom: image.String(), manifest.AnnotationTransformedBy: byItself.String(),
	}, annotationsOf(t, mustPlan(t, in))[0])
}

// TestDockerListsSayNoOrigins, and that is said.
func TestDockerListsSayNoOrigins(t *testing.T) {
	in, _ := originInput(manifest.MediaTypeDockerList)
	in.Way.Transformations = map[string]digest.Digest{"": byItself, zstd: byVariant}
	p := mustPlan(t, in)
	assert.NotContains(t, string(p.List.Written()), "transformed.by")
	assert.Equal(t, []string{fmt.Sprintf("the list %s does not say what images were made of: Docker's format has no annotations", p.List.Digest)}, p.Warnings)

	in.Way.Transformations = nil
	assert.Empty(t, mustPlan(t, in).Warnings)
	in, _ = originInput(manifest.MediaTypeDockerList)
	in.Way = transforming(func(f *WayFacts) { f.Layers, f.Transformations = KeepLayers, map[string]digest.Digest{"": byItself} })
	assert.Empty(t, mustPlan(t, in).Warnings, "nothing was made of anything")
}
