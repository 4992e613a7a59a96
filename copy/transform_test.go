package copy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/pkg/compression"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// partlyPlain is a list of n images, of which the one for arm64 has layers that are not compressed.
func partlyPlain(n int) *imagetest.Fixture {
	f := imagetest.New()
	names := make([]string, n)
	for i, platform := range []string{"amd64", "arm64", "s390x", "ppc64le", "riscv64", "386", "mips64le", "loong64"}[:n] {
		names[i] = platform
		var layers []string
		for j := range 3 {
			layer := fmt.Sprintf("%s.%d", platform, j)
			layers = append(layers, layer)
			options := []imagetest.LayerOption{imagetest.Random(uint64(1+3*i+j), 2000)}
			if platform == "arm64" {
				options = append(options, imagetest.Uncompressed())
			}
			f.Layer(layer, options...)
		}
		f.Image(platform, imagetest.Platform("linux/"+platform), imagetest.Layers(layers...))
	}
	f.List(imagetest.Top, imagetest.Entries(names...), imagetest.Indent("   "), imagetest.Unknown("x", `{"b":1.50}`))
	return f
}

// became returns what the report says that a fixture's image has become.
func became(t *testing.T, r *copy.Report, d digest.Digest) digest.Digest {
	t.Helper()
	for _, i := range r.Instances {
		if i.Digest == d && i.Became != nil {
			assert.NotEmpty(t, i.Transform)
			return i.Became.Digest
		}
	}
	require.Fail(t, "not transformed", "%s", d)
	return ""
}

// TestTransformOne of many: the others are carried as in any other copy, the list is edited at one
// entry, and the report says what became of it.
func TestTransformOne(t *testing.T) {
	f := partlyPlain(8)
	for name, place := range copytest.Places {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src, dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"), place(t)
			src.Push(f, "v1", imagetest.Top)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
			require.NoError(t, err)
			assert.Equal(t, copy.Native, r.Plan.Way, r.Plan.WayReason)

			arm := became(t, r, f.Digest("arm64"))
			assert.NotEqual(t, f.Digest("arm64"), arm)
			before, _ := f.Document(imagetest.Top)
			image, _ := f.Document("arm64")
			want := strings.ReplaceAll(string(before), f.Digest("arm64").String(), arm.String())
			want = strings.ReplaceAll(want, fmt.Sprintf(`"size": %d`, len(image)), fmt.Sprintf(`"size": %d`, len(copytest.ManifestAt(dst, arm))))
			assert.Contains(t, want, fmt.Sprintf(`"size": %d`, len(copytest.ManifestAt(dst, arm))))
			assert.Equal(t, imageSizes.ReplaceAllString(want, ""), imageSizes.ReplaceAllString(string(copytest.ManifestAt(dst, dst.Top("v1"))), ""))
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64", "s390x", "loong64"}, Absent: []string{"arm64.0"}, Only: true})
			assert.Equal(t, 9, r.ManifestsCopied)
			assert.Equal(t, 8*4, r.BlobsCopied)
			for _, i := range r.Instances {
				assert.Equal(t, copy.Copied, i.Outcome)
				assert.Positive(t, i.Bytes, i.Platform)
				want := copy.Kept
				if i.Digest == f.Digest("arm64") {
					want = copy.Updated
					assert.Contains(t, i.Transform, "uncompressed layers")
				}
				assert.Equal(t, want, i.Entry)
			}
		})
	}
}

var imageSizes = regexp.MustCompile(`"size": [0-9]+`)

// TestTransformAsksNothingElse: what is carried beside an image that is transformed takes the
// requests that it takes without it.
func TestTransformAsksNothingElse(t *testing.T) {
	f := partlyPlain(8)
	about := map[string]bool{}
	for _, name := range []string{"amd64", "s390x", "ppc64le", "riscv64", "386", "mips64le", "loong64"} {
		about[f.Digest(name).String()] = true
		for _, b := range f.Blobs(name) {
			about[b.String()] = true
		}
	}
	requests := func(filters ...string) []string {
		e := copytest.NewEnv(t)
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		src.Push(f, "v1", imagetest.Top)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...),
		})
		require.NoError(t, err)
		var all []string
		for _, q := range slices.Concat(src.Requests(), dst.Requests()) {
			if about[q.Ref] {
				all = append(all, q.Method+" "+q.Ref)
			}
		}
		slices.Sort(all)
		return all
	}
	assert.Equal(t, requests("linux/*", "!linux/arm64"), requests("linux/*"))
}

// transformations are options that change images.
func transformations(e *copytest.Env) map[string]copy.Options {
	zstd, gzip := *e.Sys, *e.Sys
	zstd.CompressionFormat, gzip.CompressionFormat = &compression.Zstd, &compression.Gzip
	return map[string]copy.Options{
		"what the destination wants": {},
		"zstd":                       {DestinationCtx: &zstd},
		"gzip, forced":               {DestinationCtx: &gzip, ForceCompressionFormat: true},
	}
}

// selections are ways to copy a list.
var selections = map[string]copy.Options{
	"all":    {ImageListSelection: copy.CopyAllImages},
	"keep":   {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")},
	"strip":  {ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList},
	"auto":   copytest.Auto("linux/amd64", "linux/arm64"),
	"system": {},
}

// TestTransformAlways transforms in every combination of lists, selections, options and
// destinations: one thing at a time makes the same as many, a plan that is executed the same as a
// copy, what was written is whole, and the plan in the report says what is there.
func TestTransformAlways(t *testing.T) {
	equal := imagetest.New()
	equal.Layer("plain", imagetest.Uncompressed(), imagetest.Random(1, 500))
	equal.Image("A", imagetest.Platform("linux/amd64"), imagetest.Layers("plain"))
	equal.Image("B", imagetest.Platform("linux/arm64"))
	equal.List(imagetest.Top, imagetest.Entries("A", "B"), imagetest.Entry("A", imagetest.Platform("linux/386")), imagetest.Entry("B", imagetest.Platform("linux/s390x")))
	nested := imagetest.New()
	nested.Layer("plain", imagetest.Uncompressed(), imagetest.Random(2, 500))
	nested.Image("amd64", imagetest.Platform("linux/amd64"))
	nested.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers("plain"))
	nested.Image("s390x", imagetest.Platform("linux/s390x"))
	nested.List("innermost", imagetest.Entries("arm64", "s390x"))
	nested.List("inner", imagetest.Entries("innermost"))
	nested.List(imagetest.Top, imagetest.Entries("amd64", "inner", "innermost"))
	lists := map[string]struct {
		*imagetest.Fixture
		children []string
	}{
		"partly plain": {partlyPlain(3), []string{"amd64", "arm64", "s390x"}},
		"equal":        {equal, []string{"A", "B"}},
		"nested":       {nested, []string{"amd64", "inner", "innermost", "arm64", "s390x"}},
		"attested":     {imagetest.WithAttestations(), []string{"amd64", "arm64", "s390x", "att-amd64", "att-arm64", "att-s390x"}},
	}
	e := copytest.NewEnv(t)
	for listName, f := range lists {
		for selectionName, selection := range selections {
			for name, o := range transformations(e) {
				t.Run(strings.Join([]string{listName, selectionName, name}, ", "), func(t *testing.T) {
					t.Parallel()
					e := copytest.NewEnv(t)
					src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
					src.Push(f.Fixture, "v1", imagetest.Top)
					options := selection
					options.DestinationCtx, options.ForceCompressionFormat = o.DestinationCtx, o.ForceCompressionFormat
					one := options
					one.MaxParallelDownloads = 1

					place := func() copytest.RegistryPlace {
						return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: strings.HasPrefix(selectionName, "auto")}), "app")
					}
					dst, alone, planned := place(), place(), place()
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
					require.NoError(t, err)
					assert.Equal(t, copy.Native, r.Plan.Way, r.Plan.WayReason)
					assert.Equal(t, dst.Top("v1"), r.Plan.Digest)
					assert.Equal(t, dst.Top("v1"), r.DestinationDigest)
					dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Only: true, Fixture: f.Fixture, Optional: f.children})
					for _, i := range r.Instances {
						if i.Became != nil && i.Outcome == copy.Copied {
							assert.Len(t, copytest.ManifestAt(dst, i.Became.Digest), int(i.Became.Size))
						}
					}

					_, err = e.Image(t.Context(), alone.Ref("v1"), src.Ref("v1"), one)
					require.NoError(t, err)
					assert.Equal(t, dst.Snapshot("app"), alone.Snapshot("app"))

					p, err := copy.Prepare(t.Context(), e.Policy, planned.Ref("v1"), src.Ref("v1"), e.Options(options))
					require.NoError(t, err)
					_, err = p.Execute(t.Context())
					require.NoError(t, err)
					require.NoError(t, p.Close())
					assert.Equal(t, dst.Snapshot("app"), planned.Snapshot("app"))
				})
			}
		}
	}
}

// TestTransformLost: the registry says that it has the blobs of what an image becomes, and then
// that it has not. They are made and sent again.
func TestTransformLost(t *testing.T) {
	f := partlyPlain(3)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	require.NoError(t, err)
	d := became(t, r, f.Digest("arm64"))
	image, err := manifest.ParseImage(copytest.ManifestAt(dst, d), imgspecv1.MediaTypeImageManifest)
	require.NoError(t, err)
	require.True(t, dst.DeleteManifest(dst.Repo, dst.Top("v1")))
	require.True(t, dst.DeleteManifest(dst.Repo, d))
	for b := range image.Blobs() {
		dst.LoseBlob(dst.Repo, b.Digest)
	}
	r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), all)
	require.NoError(t, err)
	assert.Equal(t, d, became(t, r, f.Digest("arm64")))
	for b := range image.Blobs() {
		content, ok := dst.Blob(dst.Repo, b.Digest)
		assert.True(t, ok)
		assert.Equal(t, b.Digest, digest.FromBytes(content))
	}
}

// TestTransformNothingSigned: an image whose signatures are carried stays as it is, in whichever
// way they travel.
func TestTransformNothingSigned(t *testing.T) {
	f := partlyPlain(2)
	for _, tags := range []bool{false, true} {
		t.Run(fmt.Sprintf("digest tags %t", tags), func(t *testing.T) {
			t.Parallel()
			e := copytest.NewAttachmentsEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", imagetest.Top)
			tagged(t, src, f.Digest("arm64"), newCosigner(t, "registry.example/team/app"))
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: tags})
			require.NoError(t, err)
			assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
			assert.Empty(t, r.Void)
		})
	}
}

// TestVariantsAreReportedApart from the images that they are made of.
func TestVariantsAreReportedApart(t *testing.T) {
	e, f := copytest.NewEnv(t), imagetest.Platforms(2, 1, 1000)
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", imagetest.Top)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopyAllImages, EnsureCompressionVariantsExist: []copy.OptionCompressionVariant{{Algorithm: compression.Zstd}},
	})
	require.NoError(t, err)
	for _, i := range r.Instances {
		assert.Equal(t, copy.Present, i.Outcome, i.Platform)
		assert.Zero(t, i.Bytes)
	}
	assert.Len(t, r.Plan.List.Variants, 2)
	assert.Equal(t, 3, r.ManifestsCopied)
	assert.Equal(t, 2, r.BlobsCopied)
	dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64", "arm64"}})
}

// TestTransformNothingSignedAgain: signatures that travel as digest tags are not written as
// signatures, too, whatever would have become of their image without them: the next copy has
// nothing to do.
func TestTransformNothingSignedAgain(t *testing.T) {
	f := partlyPlain(2)
	e := copytest.NewAttachmentsEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	tagged(t, src, f.Digest("arm64"), newCosigner(t, "registry.example/team/app"))
	o := transformations(e)["gzip, forced"]
	o.ImageListSelection, o.DigestTags, o.ChangedSubjects = copy.CopyAllImages, true, copy.DropChangedSubjects
	for range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Zero(t, r.SignaturesCopied)
		assert.Empty(t, r.Warnings)
		dst.ResetLog()
	}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Zero(t, dst.Count(changes))
}
