package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// BenchmarkSixPlans makes the plans of one long copy, of 15,000 entries in nested lists: with the
// documents parsed once, and for each plan.
func BenchmarkSixPlans(b *testing.B) {
	in := manyEntries(b, 30, 500)
	b.Run("parsed once", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in := in
			tree, err := ParseTree(in.Top, digest.FromBytes(in.Top.Bytes), in.Documents)
			require.NoError(b, err)
			in.Tree = tree
			sixPlans(b, in)
		}
	})
	b.Run("parsed each time", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sixPlans(b, in)
		}
	})
}

// BenchmarkVariants makes the plan of a list of 5,000 images, each of which gets a variant that is
// known.
func BenchmarkVariants(b *testing.B) {
	in := Input{Documents: map[digest.Digest]Document{}, Transformed: map[TransformKey]Document{}, Choices: Choices{ImageListSelection: CopyAllImages}}
	in.Way = transforming(func(f *WayFacts) { f.Variants = []string{zstd} })
	var entries []string
	for i := range 5000 {
		image := imageOf(ociImage, ociConfig, gzipLayer, fmt.Sprint(i))
		d := digest.FromBytes(image)
		in.Documents[d] = Document{Bytes: image}
		in.Transformed[TransformKey{d, zstd}] = Document{Bytes: imageOf(ociImage, ociConfig, imgspecv1.MediaTypeImageLayerZstd, fmt.Sprint(i))}
		entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"a%d"}}`, ociImage, d, len(image), i))
	}
	in.Top.Bytes = fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[%s]}`, strings.Join(entries, ","))
	in.Digest = digest.FromBytes(in.Top.Bytes)
	require.NoError(b, in.Parse())
	for b.Loop() {
		p, err := New(in)
		require.NoError(b, err)
		require.Len(b, p.List.Variants, 5000)
	}
}

func sixPlans(b *testing.B, in Input) {
	for range 6 {
		_, err := New(in)
		require.NoError(b, err)
	}
}

// manyEntries is the input of a copy of two platforms out of lists in a list, with a number of
// entries in each.
func manyEntries(t testing.TB, lists, entries int) Input {
	t.Helper()
	list := func(mediaType string, digests []digest.Digest) []byte {
		var b strings.Builder
		fmt.Fprintf(&b, `{"schemaVersion":2,"mediaType":%q,"manifests":[`, imgspecv1.MediaTypeImageIndex)
		for i, d := range digests {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"mediaType":%q,"digest":%q,"size":1234,"platform":{"os":"linux","architecture":%q},"annotations":{"n":"%d"}}`,
				mediaType, d, []string{"amd64", "arm64", "s390x", "riscv64"}[i%4], i)
		}
		b.WriteString("]}")
		return []byte(b.String())
	}
	in := Input{Documents: map[digest.Digest]Document{}, Choices: Choices{
		ImageListSelection: CopySpecificImages, SparseManifestListAction: StripSparseManifestList,
		InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
	}}
	var nested []digest.Digest
	for l := range lists {
		var images []digest.Digest
		for i := range entries {
			images = append(images, digest.FromString(fmt.Sprint(l, i)))
		}
		b := list(imgspecv1.MediaTypeImageManifest, images)
		d := digest.FromBytes(b)
		in.Documents[d] = Document{MediaType: imgspecv1.MediaTypeImageIndex, Bytes: b}
		nested = append(nested, d)
	}
	in.Top = Document{MediaType: imgspecv1.MediaTypeImageIndex, Bytes: list(imgspecv1.MediaTypeImageIndex, nested)}
	return in
}
