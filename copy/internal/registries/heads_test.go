package registries

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// headHabits are answers to HEAD of a manifest.
var headHabits = []habit{
	{"redhat-head-without-digest", func(t *testing.T) { headTellsNothing(t, registrytest.Options{HEADs: registrytest.HEADWithoutDigest}) }},
	{"nora-head-of-no-length", func(t *testing.T) { headTellsNothing(t, registrytest.Options{HEADs: registrytest.HEADOfNoLength}) }},
	{"nexus-head-404", headOfAll404},
	{"head-405", func(t *testing.T) { headTellsNothing(t, registrytest.Options{RefuseHEAD: true}) }},
}

// headTellsNothing copies twice with a cache from a registry whose HEADs are of no use, and once
// more after the tag has moved.
func headTellsNothing(t *testing.T, o registrytest.Options) {
	e := copytest.NewEnv(t)
	src, dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app"), copytest.Places["registry"](t)
	kept := cache.Memory(0)
	first, second := imagetest.Platforms(2, 1, 100), imagetest.Platforms(3, 1, 100)
	for _, f := range []*imagetest.Fixture{first, first, second} {
		src.Push(f, "v1", imagetest.Top)
		src.ResetLog()
		c := copytest.NewCopier(t, copy.CopierOptions{Cache: kept})
		_, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		assert.Equal(t, f.Digest(imagetest.Top), dst.Top("v1"))
		assert.Equal(t, 1, src.Count(func(q registrytest.Request) bool { return q.Method == http.MethodGet && q.Ref == "v1" }))
	}
}

// headOfAll404: a signature that comes later is found, although HEAD of its tag is 404 still.
func headOfAll404(t *testing.T) {
	headTellsNothing(t, registrytest.Options{HEADs: registrytest.HEADAbsent})

	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{HEADs: registrytest.HEADAbsent}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	signature := copytest.DigestTag(f.Digest("arm64"), ".sig")
	kept := cache.Memory(0)
	for _, want := range []bool{false, true} {
		c := copytest.NewCopier(t, copy.CopierOptions{Cache: kept})
		_, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true})
		require.NoError(t, err)
		_, there := dst.Resolve("app", signature)
		assert.Equal(t, want, there)
		src.Push(f, signature, "cosign-amd64")
	}
}
