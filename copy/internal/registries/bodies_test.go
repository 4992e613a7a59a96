package registries

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// bodyHabits are documents whose body and declared type differ, or that are unusual.
var bodyHabits = []habit{
	{"index-declared-as-docker-list", func(t *testing.T) {
		carry(t, imagetest.Platforms(3, 1, 100), copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList), regular,
			"declared as "+manifest.MediaTypeDockerList)
		carry(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerList, imgspecv1.MediaTypeImageIndex), regular,
			"declared as "+imgspecv1.MediaTypeImageIndex)
		carry(t, imagetest.Nested(), copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerManifest), regular,
			"declared as "+manifest.MediaTypeDockerManifest)
	}},
	{"child-declared-as-schema-2", func(t *testing.T) {
		carry(t, imagetest.Platforms(3, 1, 100), copytest.DeclaredAs(imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest), regular,
			"declared as "+manifest.MediaTypeDockerManifest)
		carry(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerManifest, imgspecv1.MediaTypeImageManifest), regular,
			"declared as "+imgspecv1.MediaTypeImageManifest)
		carry(t, imagetest.Platforms(3, 1, 100), copytest.DeclaredAs(imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex), regular,
			"declared as "+imgspecv1.MediaTypeImageIndex)
	}},
	{"quay-schema-2-declared-as-schema-1", func(t *testing.T) {
		for _, schema1 := range []string{manifest.MediaTypeDockerSchema1, manifest.MediaTypeDockerSchema1Signed} {
			carry(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerManifest, schema1), regular, "declared as "+schema1)
			convert(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerManifest, schema1))
			carry(t, imagetest.Platforms(3, 1, 100), copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, schema1), regular, "declared as "+schema1)
		}
	}},
	{"declared-as-nothing", func(t *testing.T) {
		for _, nothing := range []string{"application/json", "text/plain; charset=utf-8", "nonsense;;", "application/octet-stream"} {
			carry(t, imagetest.Nested(), copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, nothing, imgspecv1.MediaTypeImageManifest, nothing), regular)
			carry(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerList, nothing, manifest.MediaTypeDockerManifest, nothing), regular)
		}
		for _, nothing := range []string{"application/json", "text/plain; charset=utf-8"} {
			convert(t, imagetest.DockerList(), copytest.DeclaredAs(manifest.MediaTypeDockerList, nothing, manifest.MediaTypeDockerManifest, nothing))
		}
	}},
	{"index-without-media-type-declared-as-docker-list", func(t *testing.T) {
		carry(t, copytest.EveryDocument(imagetest.NoMediaType()), copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, manifest.MediaTypeDockerList,
			imgspecv1.MediaTypeImageManifest, manifest.MediaTypeDockerManifest), regular,
			"declared as "+manifest.MediaTypeDockerList, "declared as "+manifest.MediaTypeDockerManifest)
	}},
	{"docker-list-without-media-type", func(t *testing.T) {
		carry(t, copytest.EveryDocument(imagetest.NoMediaType(), imagetest.Docker()), registrytest.Options{}, irregular)
	}},
	{"entry-of-the-other-format", func(t *testing.T) {
		f := imagetest.New()
		for _, name := range []string{"amd64", "arm64", "s390x"} {
			f.Image(name, imagetest.Platform("linux/"+name))
		}
		f.List(imagetest.Top, imagetest.Docker(), imagetest.Entries("amd64"),
			imagetest.Entry("arm64", imagetest.EntryMediaType(manifest.MediaTypeDockerManifest)),
			imagetest.Entry("s390x", imagetest.EntryMediaType(manifest.MediaTypeDockerSchema1Signed)))
		carry(t, f, registrytest.Options{}, irregular, "has entries for "+manifest.MediaTypeDockerManifest, "has entries for "+manifest.MediaTypeDockerSchema1Signed)
	}},
	{"entry-of-the-other-kind", otherKind},
	{"artifact-without-layers", func(t *testing.T) {
		carry(t, copytest.EveryDocument(copytest.Without(`,"layers":[]`)), registrytest.Options{}, irregular)
		carry(t, copytest.EveryDocument(imagetest.Docker(), copytest.Without(`,"layers":[]`)), registrytest.Options{}, irregular)
		carry(t, copytest.EveryDocument(copytest.Replaced(`"layers":[]`, `"layers":null`)), registrytest.Options{}, irregular)
	}},
	{"null-for-a-string", func(t *testing.T) {
		null := copytest.Replaced(`"architecture":"arm64"`, `"variant":null,"os.version":null,"architecture":"arm64"`)
		annotation := copytest.Replaced(`"mediaType":"application/vnd.oci.image`, `"annotations":{"a":null,"b":"x"},"mediaType":"application/vnd.oci.image`)
		carry(t, copytest.EveryDocument(null), registrytest.Options{}, regular)
		carry(t, copytest.EveryDocument(imagetest.Docker(), null), registrytest.Options{}, regular)
		carry(t, copytest.EveryDocument(annotation), registrytest.Options{}, regular)
		carry(t, copytest.EveryDocument(copytest.Replaced(`"schemaVersion":2,`, `"schemaVersion":2,"artifactType":null,`)), registrytest.Options{}, regular)
	}},
	{"no-schema-version", func(t *testing.T) {
		carry(t, copytest.EveryDocument(copytest.Without(`"schemaVersion":2,`)), registrytest.Options{}, irregular)
		carry(t, copytest.EveryDocument(imagetest.Docker(), copytest.Without(`"schemaVersion":2,`)), registrytest.Options{}, irregular)
		carry(t, copytest.EveryDocument(imagetest.NoMediaType(), copytest.Without(`"schemaVersion":2,`)), registrytest.Options{}, irregular)
		carry(t, copytest.EveryDocument(imagetest.NoMediaType(), copytest.Without(`"schemaVersion":2,`)),
			copytest.DeclaredAs(imgspecv1.MediaTypeImageIndex, "text/plain", imgspecv1.MediaTypeImageManifest, ""), irregular)
	}},
	{"buildah-empty-list", emptyLists},
	{"keys-that-occur-twice", func(t *testing.T) {
		twice := copytest.Replaced(`"mediaType":"application/vnd.oci.image`, `"annotations":{"a":"1","a":"2"},"x":{"size":1,"Size":2},"mediaType":"application/vnd.oci.image`)
		carry(t, copytest.EveryDocument(twice), registrytest.Options{}, regular, "annotations.a", "duplicate key", `x.Size`, `key differs from "size" in case only`)
	}},
	{"keys-that-occur-twice-and-mean-something", func(t *testing.T) {
		for _, change := range []imagetest.Option{
			copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":2,"schemaVersion":2`), copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":2,"SchemaVersion":2`),
			copytest.Replaced(`"digest":`, `"digest":"`+digest.FromString("x").String()+`","digest":`), copytest.Replaced(`"size":`, `"Size":0,"size":`),
			copytest.Replaced(`"architecture":"arm64"`, `"OS":"windows","architecture":"arm64"`),
			copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":2,"annotations":{},"annotations":null`),
		} {
			refuse(t, copytest.EveryDocument(change), "")
		}
	}},
	{"list-and-image-at-once", func(t *testing.T) {
		for _, both := range []imagetest.Option{
			copytest.Replaced(`"manifests":[`, `"layers":[],"manifests":[`), copytest.Replaced(`"manifests":[`, `"config":null,"manifests":[`),
			copytest.Replaced(`"config":{`, `"manifests":[],"config":{`), copytest.Replaced(`"layers":[`, `"fsLayers":[],"layers":[`),
		} {
			refuse(t, copytest.EveryDocument(both), "does not belong in")
			refuse(t, copytest.EveryDocument(imagetest.Docker(), both), "does not belong in")
			refuse(t, copytest.EveryDocument(imagetest.NoMediaType(), both), "does not belong in")
		}
	}},
	{"media-type-against-the-shape", func(t *testing.T) {
		list, image := `"mediaType":"`+imgspecv1.MediaTypeImageIndex+`","manifests"`, `"mediaType":"`+imgspecv1.MediaTypeImageManifest+`","config"`
		refuse(t, copytest.EveryDocument(copytest.Replaced(list, strings.Replace(list, "index", "manifest", 1))), "")
		refuse(t, copytest.EveryDocument(copytest.Replaced(image, strings.Replace(image, "manifest", "index", 1))), "")
		refuse(t, copytest.EveryDocument(copytest.Replaced(image, strings.Replace(image, "vnd.oci", "vnd.x", 1))), "is not the media type of an image manifest")
		refuse(t, copytest.EveryDocument(copytest.Replaced(`"schemaVersion":2`, `"schemaVersion":3`)), `schemaVersion "3" is not 2`)
	}},
}

// What the checker is to think of documents that are carried.
const (
	regular   = false
	irregular = true
)

// A carriage is what one copy is to make of documents.
type carriage struct {
	tag     string // at the source
	options copy.Options
	present []string
}

// carry copies a list, whole and stripped, and one of its images: see carryAs.
func carry(t *testing.T, f *imagetest.Fixture, o registrytest.Options, irregular bool, warnings ...string) {
	t.Helper()
	carryAs(t, f, o, irregular, warnings,
		carriage{"v1", copy.Options{ImageListSelection: copy.CopyAllImages}, []string{"arm64"}},
		carriage{"v1", copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm64"), SparseManifestListAction: copy.StripSparseManifestList,
		}, []string{"arm64"}},
		carriage{"image", copy.Options{}, nil},
	)
}

// carryAs copies from a registry to another one and, if that takes such documents, into a layout,
// each time twice. What arrives has the bytes of the source, or of what is left of it, and is
// declared as what it is. Warnings have the given texts, all of them, and there are none if there
// are no texts.
func carryAs(t *testing.T, f *imagetest.Fixture, o registrytest.Options, irregular bool, warnings []string, copies ...carriage) {
	t.Helper()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "image", "arm64")
	_, top := f.Document(imagetest.Top)
	_, child := f.Document("arm64")
	for to, newDestination := range copytest.Places {
		if to == "layout" && (top == manifest.MediaTypeDockerList || child == manifest.MediaTypeDockerManifest) {
			continue // layouts get it converted
		}
		said := ""
		for _, c := range copies {
			dst := newDestination(t)
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(c.tag), c.options)
			require.NoError(t, err)
			assert.Equal(t, copy.Native, r.Plan.Way)
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: c.present, Irregular: irregular, Only: true})
			if to == "registry" {
				copytest.CheckDeclared(t, dst.(copytest.RegistryPlace))
			}
			said += strings.Join(r.Warnings, "\n") + "\n"
			again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(c.tag), c.options)
			require.NoError(t, err)
			assert.False(t, again.Written, "the second copy has nothing to do")
		}
		for _, w := range warnings {
			assert.Contains(t, said, w)
		}
		if len(warnings) == 0 {
			assert.Empty(t, strings.TrimSpace(said))
		}
	}
}

// convert copies Docker's documents into layouts, which hold OCI's: upstream's package converts
// them, and reads them as what they are.
func convert(t *testing.T, f *imagetest.Fixture, o registrytest.Options) {
	t.Helper()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(f, "v1", imagetest.Top)
	for _, options := range []copy.Options{{ImageListSelection: copy.CopyAllImages}, {}} {
		dst := copytest.Places["layout"](t)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
		require.NoError(t, err)
		assert.NotEmpty(t, r.Instances[0].Transform)
		dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest})
	}
}

// refuse demands that the list, or one of its images, is refused, and that nothing is tagged.
func refuse(t *testing.T, f *imagetest.Fixture, why string) {
	t.Helper()
	e := copytest.NewEnv(t)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	var wrong *manifest.ParseError
	require.ErrorAs(t, err, &wrong)
	assert.ErrorContains(t, err, why)
	assert.Empty(t, dst.Top("v1"))
}

// otherKind has entries that take a list for an image, and an image for a list. What they name is
// copied as what it is.
func otherKind(t *testing.T) {
	f := imagetest.New()
	for _, name := range []string{"amd64", "arm64", "s390x", "ppc64le"} {
		f.Image(name, imagetest.Platform("linux/"+name), imagetest.Layers())
	}
	f.List("innermost", imagetest.Entries("s390x", "ppc64le"))
	f.List("inner", imagetest.Entries("arm64"), imagetest.Entry("innermost", imagetest.EntryMediaType(imgspecv1.MediaTypeImageManifest)))
	f.List(imagetest.Top,
		imagetest.Entry("inner", imagetest.EntryMediaType(imgspecv1.MediaTypeImageManifest), imagetest.Platform("linux/amd64")),
		imagetest.Entry("amd64", imagetest.EntryMediaType(imgspecv1.MediaTypeImageIndex)))
	carryAs(t, f, registrytest.Options{}, irregular,
		[]string{
			fmt.Sprintf("has entries for %s, and what they name is %s: %s", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, f.Digest("inner")),
			fmt.Sprintf("has entries for %s, and what they name is %s: %s", imgspecv1.MediaTypeImageManifest, imgspecv1.MediaTypeImageIndex, f.Digest("innermost")),
			fmt.Sprintf("has entries for %s, and what they name is %s: %s", imgspecv1.MediaTypeImageIndex, imgspecv1.MediaTypeImageManifest, f.Digest("amd64")),
		},
		carriage{"v1", copy.Options{ImageListSelection: copy.CopyAllImages}, []string{"arm64", "s390x", "ppc64le", "amd64"}},
		carriage{"v1", copy.Options{
			ImageListSelection: copy.CopySpecificImages, Instances: f.Digests("inner"), SparseManifestListAction: copy.StripSparseManifestList,
		}, []string{"arm64", "s390x", "ppc64le"}},
	)
}

// emptyLists are copied as they are if everything is asked for; whoever asks for something hears
// that it is not there.
func emptyLists(t *testing.T) {
	for _, body := range []string{
		`{"schemaVersion":2,"mediaType":"` + manifest.MediaTypeDockerList + `","manifests":null}`,
		`{"schemaVersion":2,"mediaType":"` + manifest.MediaTypeDockerList + `","manifests":[]}`,
		`{"schemaVersion":2,"mediaType":"` + imgspecv1.MediaTypeImageIndex + `","manifests":null}`,
		`{"schemaVersion":2,"manifests":[ ]}`,
	} {
		mediaType := manifest.TypeOf([]byte(body), "")
		f := imagetest.New()
		f.Raw("empty", mediaType, []byte(body))
		e := copytest.NewEnv(t)
		src := copytest.Places["registry"](t)
		src.Push(f, "v1", "empty")
		for to, newDestination := range copytest.Places {
			if to == "layout" && mediaType == manifest.MediaTypeDockerList {
				continue
			}
			for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList} {
				dst := newDestination(t)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: action})
				require.NoError(t, err)
				assert.Empty(t, r.Warnings)
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("empty"), Fixture: f, Only: true, Irregular: true})
			}
			for _, selector := range []copy.Options{
				{InstancePlatforms: copytest.Platforms("linux/amd64")},
				{InstancePlatforms: copytest.Platforms("!linux/amd64")},
				{OptionalPlatforms: copytest.Platforms("linux/amd64")},
				{Instances: []digest.Digest{digest.FromString("x")}},
				{InstanceIndexes: []int{0}},
			} {
				selector.ImageListSelection = copy.CopySpecificImages
				dst := newDestination(t)
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), selector)
				var none *copy.NoMatchError
				require.ErrorAs(t, err, &none)
				assert.Empty(t, dst.Top("v1"))
			}
			dst := newDestination(t)
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopySpecificImages})
			var empty *copy.EmptyError
			require.ErrorAs(t, err, &empty)
			assert.Empty(t, dst.Top("v1"))
		}
	}

	// A list that is empty goes with the list that names it.
	f := imagetest.New()
	f.Raw("empty", imgspecv1.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"`+imgspecv1.MediaTypeImageIndex+`","manifests":null}`))
	f.Image("arm64", imagetest.Platform("linux/arm64"), imagetest.Layers())
	f.List(imagetest.Top, imagetest.Entries("empty", "arm64"))
	carry(t, f, registrytest.Options{}, irregular)
}
