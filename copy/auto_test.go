package copy

import (
	"sync/atomic"
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

// TestAutoAsksEachTime copies with one Copier to a registry that refuses sparse lists in one repository, and is configured anew.
func TestAutoAsksEachTime(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	var accepts atomic.Bool
	dst := registrytest.Start(t, registrytest.Options{ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
		if accepts.Load() || l.Repo == "other" {
			return registrytest.Answer{}
		}
		return registrytest.Distribution3(l)
	}})
	c := NewCopier(CopierOptions{})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	copies := func(repo, tag string, platform string, action SparseManifestListAction) {
		t.Helper()
		r, err := e.imageWith(t.Context(), c, registryRef(t, dst, repo, tag), src.ref("v1"), auto(platform))
		require.NoError(t, err)
		assert.Equal(t, action, r.Action)
		assert.Equal(t, action == StripSparseManifestList, r.Refusal != "", "%q", r.Refusal)
		imagetest.CheckRegistry(t, dst, repo, imagetest.Want{Tag: tag, Digest: r.DestinationDigest, Fixture: f, Optional: []string{"amd64", "arm64", "arm/v7"}})
	}
	copies("app", "first", "linux/amd64", StripSparseManifestList)
	copies("app", "second", "linux/arm64", StripSparseManifestList)
	copies("other", "v1", "linux/amd64", KeepSparseManifestList)
	accepts.Store(true)
	copies("app", "third", "linux/amd64", KeepSparseManifestList)
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
