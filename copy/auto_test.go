package copy_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestAutoNeverStripsOnOtherStatuses plays the code of a malformed list with statuses that say
// something else.
func TestAutoNeverStripsOnOtherStatuses(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	for _, status := range []int{401, 403, 409, 413, 429, 500} {
		e := copytest.NewEnv(t)
		src := copytest.Places["registry"](t)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
			ListPolicy: func(registrytest.ListPut) registrytest.Answer {
				return registrytest.Fail(status, "MANIFEST_INVALID", "no")
			},
		}), "app")
		src.Push(f, "v1", imagetest.Top)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Auto("linux/amd64"))
		require.Error(t, err)
		assert.Empty(t, dst.Top("v1"), "status %d", status)
	}
}

// TestAutoAsksEachTime copies with one Copier to a registry that refuses sparse lists in one
// repository, and is configured anew.
func TestAutoAsksEachTime(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	var accepts atomic.Bool
	dst := registrytest.Start(t, registrytest.Options{ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
		if accepts.Load() || l.Repo == "other" {
			return registrytest.Answer{}
		}
		return registrytest.Distribution3(l)
	}})
	c := copy.NewCopier(copy.CopierOptions{})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	copies := func(repo, tag string, platform string, action copy.SparseManifestListAction) {
		t.Helper()
		r, err := e.ImageWith(t.Context(), c, copytest.RegistryRef(t, dst, repo, tag), src.Ref("v1"), copytest.Auto(platform))
		require.NoError(t, err)
		assert.Equal(t, action, r.Action)
		assert.Equal(t, action == copy.StripSparseManifestList, r.Refusal != "", "%q", r.Refusal)
		imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: r.DestinationDigest, Fixture: f, Optional: []string{"amd64", "arm64", "arm/v7"}})
	}
	copies("app", "first", "linux/amd64", copy.StripSparseManifestList)
	copies("app", "second", "linux/arm64", copy.StripSparseManifestList)
	copies("other", "v1", "linux/amd64", copy.KeepSparseManifestList)
	accepts.Store(true)
	copies("app", "third", "linux/amd64", copy.KeepSparseManifestList)
}

// TestAutoUnclearWithoutStrip gives both reasons also when the registry's answer does not say what
// it is about.
func TestAutoUnclearWithoutStrip(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.Places["registry"](t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Zot}), "app")
	src.Push(f, "v1", imagetest.Top)
	o := copytest.Auto("linux/amd64")
	o.PreserveDigests = true
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	var refused *copy.SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, refused.NotStripped, "PreserveDigests")
}

// TestLostChildOfACompleteList pushes again what a registry has lost, also if the list is not
// sparse.
func TestLostChildOfACompleteList(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	strip := copytest.Auto("linux/amd64", "linux/arm64")
	strip.SparseManifestListAction = copy.StripSparseManifestList
	for name, o := range map[string]copy.Options{"all": {ImageListSelection: copy.CopyAllImages}, "strip": strip} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			var dst copytest.RegistryPlace
			dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
					if l.Attempt == 1 {
						dst.DeleteManifest("app", f.Digest("amd64"))
						l.Children[0].Manifest = false
					}
					return registrytest.Distribution3(l)
				},
			}), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}})
		})
	}
}

// TestWideningNested adds an image in a list within a list that is there already.
func TestWideningNested(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Nested()
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	for _, filters := range [][]string{{"linux/arm64"}, {"linux/arm64", "linux/arm/v6"}} {
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...),
		})
		require.NoError(t, err)
	}
	dst.Check(imagetest.Want{
		Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"amd64", "s390x", "arm/v7"}, Late: []string{"innermost", "arm/v6"},
	})
}
