package plan

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestVariantsSettle: a list that was given variants has them. Its copies stay as they are, under
// whatever is asked for that has been made already, and each variant is made once.
func TestVariantsSettle(t *testing.T) {
	inner := imagetest.Platforms(2, 1, 10)
	inner.Image("s390x", imagetest.Platform("linux/s390x"))
	inner.List("nested", imagetest.Entries("s390x", imagetest.Top))
	blobs := imagetest.Cache(2, 10)
	for name, tc := range map[string]struct {
		fixture *imagetest.Fixture
		top     string
	}{
		"OCI":      {imagetest.Platforms(3, 2, 10), imagetest.Top},
		"Docker":   {imagetest.Platforms(3, 2, 10, imagetest.Docker()), imagetest.Top},
		"attested": {imagetest.WithAttestations(), imagetest.Top},
		"nested":   {inner, "nested"},
		"blobs":    {blobs, imagetest.Top},
	} {
		for _, variants := range [][]string{{zstd}, {gzip, zstd}, {zstd, zstdChunked}, {zstdChunked}} {
			for _, stores := range [][]string{nil, {imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex}} {
				t.Run(fmt.Sprint(name, variants, len(stores)), func(t *testing.T) {
					in := variantsInput(tc.fixture, tc.top)
					in.Way = transforming(func(f *WayFacts) { f.Variants, f.Stores, f.Layers = variants, stores, CompressLayers })
					first := settled(t, in)
					seen := map[TransformKey]bool{}
					for _, tr := range mustPlan(t, in).Transforms() {
						assert.False(t, seen[tr.Key()])
						seen[tr.Key()] = true
					}

					written := in
					written.Tree, written.Transformed = nil, nil
					written.Documents = map[digest.Digest]Document{}
					first.List.Walk(func(l *ListPlan) {
						written.Documents[l.Result] = Document{MediaType: l.ResultType, Bytes: l.Written()}
					})
					for d, doc := range in.Documents {
						written.Documents[d] = doc
					}
					for _, doc := range allResults(t, in) {
						written.Documents[digest.FromBytes(doc.Bytes)] = doc
					}
					written.Top, written.Digest = written.Documents[first.List.Result], first.List.Result
					second := mustPlan(t, written)
					assert.Empty(t, second.Transforms(), "%s", second)
					assert.Equal(t, first.List.Result, second.List.Result, "%s\n%s", first, second)
				})
			}
		}
	}
}

// variantsInput is the copy of everything that a fixture has.
func variantsInput(f *imagetest.Fixture, top string) Input {
	in := Input{Documents: map[digest.Digest]Document{}, Choices: Choices{ImageListSelection: CopyAllImages}}
	for _, d := range f.Manifests(top) {
		b, mediaType := f.Document(f.Name(d))
		in.Documents[d] = Document{MediaType: mediaType, Bytes: b}
	}
	in.Digest = f.Digest(top)
	in.Top = in.Documents[in.Digest]
	return in
}

// settled returns the plan of what is known when everything has been transformed.
func settled(t *testing.T, in Input) *Plan {
	t.Helper()
	in.Transformed = allResults(t, in)
	p := mustPlan(t, in)
	require.NotEmpty(t, p.Digest, "%s", p)
	return p
}

func mustPlan(t *testing.T, in Input) *Plan {
	t.Helper()
	p, err := New(in)
	require.NoError(t, err)
	return p
}

// allResults makes something of each image that is to be transformed.
func allResults(t *testing.T, in Input) map[TransformKey]Document {
	t.Helper()
	results := map[TransformKey]Document{}
	for _, tr := range mustPlan(t, in).Transforms() {
		layer := imgspecv1.MediaTypeImageLayerGzip
		annotations := ""
		switch tr.Format {
		case zstdChunked:
			annotations = fmt.Sprintf(`,"annotations":{%q:"sha256:0"}`, chunkedAnnotation)
			fallthrough
		case zstd:
			layer = imgspecv1.MediaTypeImageLayerZstd
		}
		results[tr.Key()] = Document{MediaType: imgspecv1.MediaTypeImageManifest, Bytes: fmt.Appendf(nil,
			`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":10%s}]}`,
			imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageConfig, tr.Digest, layer, digest.FromString(tr.Format), annotations)}
	}
	return results
}

// TestCompressions says what images stand for, by their manifests and entries.
func TestCompressions(t *testing.T) {
	image := func(layers ...manifest.Descriptor) *manifest.Image {
		return &manifest.Image{MediaType: imgspecv1.MediaTypeImageManifest, Config: manifest.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig}, Layers: layers}
	}
	gz, zst := manifest.Descriptor{MediaType: imgspecv1.MediaTypeImageLayerGzip}, manifest.Descriptor{MediaType: imgspecv1.MediaTypeImageLayerZstd}
	chunked := zst
	chunked.Annotations = map[string]string{chunkedAnnotation: "sha256:0"}
	encrypted := manifest.Descriptor{MediaType: imgspecv1.MediaTypeImageLayerZstd + "+encrypted"}
	artifact := image(zst)
	artifact.Config.MediaType = "application/vnd.example"
	marked := map[string]string{manifest.AnnotationZstd: "true"}
	for name, tc := range map[string]struct {
		image       *manifest.Image
		annotations map[string]string
		want        []string
	}{
		"gzip":             {image(gz), nil, []string{gzip}},
		"zstd":             {image(zst), nil, []string{zstd}},
		"both":             {image(gz, zst), nil, []string{zstd}},
		"chunked":          {image(chunked), nil, []string{zstd, zstdChunked}},
		"encrypted":        {image(encrypted), nil, []string{zstd}},
		"marked":           {image(gz), marked, []string{zstd}},
		"marked, unread":   {nil, marked, []string{zstd}},
		"unread":           {nil, nil, []string{gzip}},
		"no layers":        {image(), nil, []string{gzip}},
		"of what is none":  {artifact, nil, []string{gzip}},
		"marked otherwise": {image(gz), map[string]string{manifest.AnnotationZstd: "1"}, []string{gzip}},
	} {
		assert.Equal(t, tc.want, compressions(tc.image, tc.annotations), name)
	}
}

// TestVariantsInPlans: what is made of images belongs to what the plan needs and stores.
func TestVariantsInPlans(t *testing.T) {
	in := variantsInput(imagetest.Platforms(2, 1, 10), imagetest.Top)
	in.Way = transforming(func(f *WayFacts) { f.Variants = []string{zstd} })
	p := mustPlan(t, in)
	require.Len(t, p.Transforms(), 2)
	assert.Equal(t, zstd, p.Transforms()[0].Format)
	assert.Len(t, p.Stored(), 2)
	assert.Len(t, p.Copies, 2)

	p = settled(t, in)
	variant := p.List.Variants[0].Result()
	assert.Contains(t, p.Stored(), variant)
	assert.Contains(t, p.List.Needs(), variant)
	assert.True(t, p.Brings(variant))
	assert.Len(t, p.Transforms(), 2, "they are known, and not at the destination")

	in.Transformed = allResults(t, in)
	in.Present = map[digest.Digest]bool{variant: true}
	p = mustPlan(t, in)
	assert.Len(t, p.Transforms(), 1)
	assert.True(t, p.List.Variants[0].Present)
}

// TestVariantsOfWhatIsDecrypted: layers that are decrypted can be compressed otherwise, and those
// that stay encrypted cannot.
func TestVariantsOfWhatIsDecrypted(t *testing.T) {
	image := imageOf(ociImage, ociConfig, gzipLayer+encryptedSuffix)
	d := digest.FromBytes(image)
	in := Input{
		Top:       Document{Bytes: fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, ociImage, d, len(image))},
		Documents: map[digest.Digest]Document{d: {Bytes: image}}, Choices: Choices{ImageListSelection: CopyAllImages},
	}
	for _, decrypts := range []bool{false, true} {
		in.Way = transforming(func(f *WayFacts) { f.Variants, f.Decrypts = []string{zstd}, decrypts })
		assert.Equal(t, decrypts, len(mustPlan(t, in).List.Variants) == 1)
	}
}
