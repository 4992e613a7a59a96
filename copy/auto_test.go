package copy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func auto(filters ...string) Options {
	return Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...), SparseManifestListAction: AutoSparseManifestList,
	}
}

// TestAutoNeverStripsOnOtherStatuses plays the code of a malformed list with statuses that say something else.
func TestAutoNeverStripsOnOtherStatuses(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	for _, status := range []int{401, 403, 409, 413, 429, 500} {
		e := newEnv(t)
		src := places["registry"](t)
		dst := registryPlace{t, registrytest.Start(t, registrytest.Options{
			ListPolicy: func(registrytest.ListPut) registrytest.Answer {
				return registrytest.Fail(status, "MANIFEST_INVALID", "no")
			},
		}), "app"}
		src.push(f, "v1", imagetest.Top)
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), auto("linux/amd64"))
		require.Error(t, err)
		assert.Empty(t, dst.top("v1"), "status %d", status)
	}
}

// TestAutoRemembers what it has learnt, and no more than that.
func TestAutoRemembers(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	t.Run("a registry that refuses all sparse lists", func(t *testing.T) {
		e := newEnv(t)
		src := places["registry"](t)
		dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
		src.push(f, "v1", imagetest.Top)
		r, err := e.image(t.Context(), dst.ref("first"), src.ref("v1"), auto("linux/amd64"))
		require.NoError(t, err)
		assert.NotEmpty(t, r.Refusal)
		r, err = e.image(t.Context(), dst.ref("second"), src.ref("v1"), auto("linux/arm64"))
		require.NoError(t, err)
		assert.Empty(t, r.Refusal, "it is not asked again")
		assert.Equal(t, StripSparseManifestList, r.Action)
		assert.Contains(t, r.ActionReason, "earlier")
	})
	t.Run("a registry that requires an architecture", func(t *testing.T) {
		e := newEnv(t)
		src := places["registry"](t)
		dst := registryPlace{t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.RequireArchitectures("amd64")}), "app"}
		src.push(f, "v1", imagetest.Top)
		r, err := e.image(t.Context(), dst.ref("arm64"), src.ref("v1"), auto("linux/arm64"))
		require.NoError(t, err)
		assert.Equal(t, StripSparseManifestList, r.Action)
		r, err = e.image(t.Context(), dst.ref("amd64"), src.ref("v1"), auto("linux/amd64"))
		require.NoError(t, err)
		assert.Equal(t, KeepSparseManifestList, r.Action, "another list, which it takes")
	})
}

// TestAutoUnclearWithoutStrip gives both reasons also when the registry's answer does not say what it is about.
func TestAutoUnclearWithoutStrip(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := places["registry"](t)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Zot}), "app"}
	src.push(f, "v1", imagetest.Top)
	o := auto("linux/amd64")
	o.PreserveDigests = true
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
	var refused *SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, refused.NotStripped, "PreserveDigests")
}

// TestLostChildOfACompleteList pushes again what a registry has lost, also if the list is not sparse.
func TestLostChildOfACompleteList(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	strip := auto("linux/amd64", "linux/arm64")
	strip.SparseManifestListAction = StripSparseManifestList
	for name, o := range map[string]Options{"all": {ImageListSelection: CopyAllImages}, "strip": strip} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src := places["registry"](t)
			src.push(f, "v1", imagetest.Top)
			var dst registryPlace
			dst = registryPlace{t, registrytest.Start(t, registrytest.Options{
				ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
					if l.Attempt == 1 {
						dst.DeleteManifest("app", f.Digest("amd64"))
						l.Children[0].Manifest = false
					}
					return registrytest.Distribution3(l)
				},
			}), "app"}
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			dst.check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}})
		})
	}
}

// TestWideningNested adds an image in a list within a list that is there already.
func TestWideningNested(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Nested()
	src, dst := places["registry"](t), places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	for _, filters := range [][]string{{"linux/arm64"}, {"linux/arm64", "linux/arm/v6"}} {
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
			ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...),
		})
		require.NoError(t, err)
	}
	dst.check(imagetest.Want{
		Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"amd64", "s390x", "arm/v7"}, Late: []string{"innermost", "arm/v6"},
	})
}
