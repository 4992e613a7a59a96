package copy_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// counted is a pair of registries whose requests are counted.
type counted struct {
	*copytest.Env
	f        *imagetest.Fixture
	src, dst copytest.RegistryPlace
}

func newCounted(t *testing.T, f *imagetest.Fixture, strict bool) *counted {
	c := &counted{
		Env: copytest.NewEnv(t), f: f,
		src: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
		dst: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: strict}), "app"),
	}
	c.src.Push(f, "v1", imagetest.Top)
	return c
}

// copy copies and returns the number of requests to each side.
func (c *counted) copy(t *testing.T, tag string, o copy.Options) (r *copy.Report, source, destination int) {
	t.Helper()
	c.src.ResetLog()
	c.dst.ResetLog()
	r, err := c.Image(t.Context(), c.dst.Ref("v1"), c.src.Ref(tag), o)
	require.NoError(t, err)
	assert.EqualValues(t, len(c.src.Requests()), r.Source.Requests)
	assert.EqualValues(t, len(c.dst.Requests()), r.Destination.Requests)
	return r, len(c.src.Requests()), len(c.dst.Requests())
}

func TestRequestsFresh(t *testing.T) {
	c := newCounted(t, imagetest.Platforms(8, 5, 1000), false)
	_, source, destination := c.copy(t, "v1", copy.Options{ImageListSelection: copy.CopyAllImages})
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.LessOrEqual(t, source, 60)
	assert.LessOrEqual(t, destination, 115)
}

// TestNobodyWaitsAnyMore for the destination's answer when the source has refused: there is nothing
// to warn of.
func TestNobodyWaitsAnyMore(t *testing.T) {
	asked := make(chan struct{})
	asks := sync.OnceFunc(func() { close(asked) })
	e := copytest.NewEnv(t)
	src := registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer {
		<-asked
		return registrytest.Fail(http.StatusForbidden, "DENIED", "no")
	}})
	dst := registrytest.Start(t, registrytest.Options{Script: func(int, *http.Request) registrytest.Answer {
		asks()
		return registrytest.Answer{Fault: registrytest.FaultStall}
	}})
	r, err := e.Image(t.Context(), copytest.RegistryRef(t, dst, "app", "v1"), copytest.RegistryRef(t, src, "app", "v1"), copy.Options{})
	require.ErrorContains(t, err, "DENIED")
	assert.Empty(t, r.Warnings)
}

func TestRequestsNothingToDo(t *testing.T) {
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	strip, auto := two, two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	auto.SparseManifestListAction = copy.AutoSparseManifestList
	for name, c := range map[string]struct {
		options copy.Options
		strict  bool
		most    int
	}{
		"strip":         {strip, true, 4},
		"keep":          {two, false, 1 + 1 + 2},
		"auto, lax":     {auto, false, 1 + 1 + 2},
		"auto, strict":  {auto, true, 4},
		"all":           {copy.Options{ImageListSelection: copy.CopyAllImages}, true, 1 + 1 + 8},
		"single system": {copy.Options{}, true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			pair := newCounted(t, imagetest.Platforms(8, 5, 1000), c.strict)
			pair.copy(t, "v1", c.options)
			r, source, destination := pair.copy(t, "v1", c.options)
			t.Logf("%d requests to the source, %d to the destination", source, destination)
			assert.LessOrEqual(t, source+destination, c.most)
			assert.False(t, r.Written)
			assert.NotEmpty(t, r.Checked)
		})
	}
}

// TestRequestsOneChanged rebuilds one of eight platforms.
func TestRequestsOneChanged(t *testing.T) {
	c := newCounted(t, imagetest.Platforms(8, 5, 1000), true)
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	c.copy(t, "v1", all)

	rebuilt := imagetest.Platforms(7, 5, 1000)
	rebuilt.Image("new", imagetest.Platform("linux/arm/v6"))
	rebuilt.List("v2", imagetest.Entries("amd64", "arm64", "arm/v7", "ppc64le", "s390x", "riscv64", "386", "new"))
	c.src.Push(rebuilt, "v2", "v2")
	_, source, destination := c.copy(t, "v2", all)
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.Equal(t, 1+1+2, source, "the list, and the new platform: a manifest, a config, a layer")
	assert.LessOrEqual(t, destination, 1+8+2*2+4+1+1, "the tag, one a child, and the new platform's")
	c.dst.Check(imagetest.Want{Tag: "v1", Digest: rebuilt.Digest("v2"), Fixture: rebuilt})
}

// TestRequestsWidening goes from two platforms to three.
func TestRequestsWidening(t *testing.T) {
	c := newCounted(t, imagetest.Platforms(8, 5, 1000), false)
	o := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	c.copy(t, "v1", o)
	o.InstancePlatforms = copytest.Platforms("linux/amd64", "linux/arm64", "linux/s390x")
	_, source, destination := c.copy(t, "v1", o)
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.Equal(t, 1+1+6, source)
	assert.LessOrEqual(t, destination, 1+1+3+6*2+4+1+1, "the tag, what the registry announces, one a child, and the new platform's")
}

// TestExistenceCheckRefused copies when the destination answers no question about what is there.
func TestExistenceCheckRefused(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	src := copytest.Places["registry"](t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodHead, ""), registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no"))),
	}), "app")
	src.Push(f, "v1", imagetest.Top)
	for range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		assert.True(t, r.Written)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// TestAnnouncement holds a registry to what it says about sparse lists, before any blob is copied,
// and asks once.
func TestAnnouncement(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	auto := two
	auto.SparseManifestListAction = copy.AutoSparseManifestList
	for name, c := range map[string]struct {
		announce registrytest.Announcement
		options  copy.Options
		action   copy.SparseManifestListAction
		refused  string
	}{
		"keep, not taken":         {registrytest.Announcement{}, two, 0, "does not take them"},
		"keep, taken":             {registrytest.Announcement{Sparse: true}, two, copy.KeepSparseManifestList, ""},
		"keep, required is there": {registrytest.Announcement{Sparse: true, Architectures: []string{"amd64"}}, two, copy.KeepSparseManifestList, ""},
		"keep, required is not":   {registrytest.Announcement{Sparse: true, Architectures: []string{"ppc64le"}}, two, 0, "(linux/ppc64le)"},
		"auto, not taken":         {registrytest.Announcement{}, auto, copy.StripSparseManifestList, ""},
		"auto, taken":             {registrytest.Announcement{Sparse: true}, auto, copy.KeepSparseManifestList, ""},
		"auto, required is not":   {registrytest.Announcement{Sparse: true, Architectures: []string{"ppc64le"}}, auto, copy.StripSparseManifestList, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Announce: &c.announce}), "app")
			clock := &clocktest.Shifted{}
			copier := copy.NewCopier(copy.CopierOptions{Clock: clock})
			defer copier.Close()
			for i := range 3 {
				dst.DeleteTag("app", "v1")
				r, err := e.ImageWith(t.Context(), copier, dst.Ref("v1"), src.Ref("v1"), c.options)
				assert.Equal(t, max(1, i), dst.Count(registrytest.Is(http.MethodGet, registrytest.KindOther)), "asked each ten minutes")
				clock.Advance(5 * time.Minute)
				if c.refused != "" {
					var refused *copy.SparseRefusedError
					require.ErrorAs(t, err, &refused)
					assert.ErrorContains(t, err, c.refused)
					assert.Empty(t, dst.Snapshot("app"), "not a blob is copied")
					continue
				}
				require.NoError(t, err)
				assert.Equal(t, c.action, r.Action)
				assert.Empty(t, r.Refusal, "nothing was tried in vain")
			}
		})
	}
	t.Run("what is absent from the copy may be there", func(t *testing.T) {
		e := copytest.NewEnv(t)
		src := copytest.Places["registry"](t)
		src.Push(f, "v1", imagetest.Top)
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true, Announce: &registrytest.Announcement{}}), "app")
		dst.Push(f, "complete", imagetest.Top)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), two)
		require.NoError(t, err)
	})
}
