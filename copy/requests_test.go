package copy

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// counted is a pair of registries whose requests are counted.
type counted struct {
	*env
	f        *imagetest.Fixture
	src, dst registryPlace
}

func newCounted(t *testing.T, f *imagetest.Fixture, strict bool) *counted {
	c := &counted{
		env: newEnv(t), f: f,
		src: registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"},
		dst: registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: strict}), "app"},
	}
	c.src.push(f, "v1", imagetest.Top)
	return c
}

// copy copies and returns the number of requests to each side.
func (c *counted) copy(t *testing.T, tag string, o Options) (r *Report, source, destination int) {
	t.Helper()
	c.src.ResetLog()
	c.dst.ResetLog()
	r, err := c.image(t.Context(), c.dst.ref("v1"), c.src.ref(tag), o)
	require.NoError(t, err)
	assert.EqualValues(t, len(c.src.Requests()), r.Source.Requests)
	assert.EqualValues(t, len(c.dst.Requests()), r.Destination.Requests)
	return r, len(c.src.Requests()), len(c.dst.Requests())
}

func TestRequestsFresh(t *testing.T) {
	c := newCounted(t, imagetest.Platforms(8, 5, 1000), false)
	_, source, destination := c.copy(t, "v1", Options{ImageListSelection: CopyAllImages})
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.LessOrEqual(t, source, 60)
	assert.LessOrEqual(t, destination, 115)
}

func TestRequestsNothingToDo(t *testing.T) {
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	strip, auto := two, two
	strip.SparseManifestListAction = StripSparseManifestList
	auto.SparseManifestListAction = AutoSparseManifestList
	for name, c := range map[string]struct {
		options Options
		strict  bool
		most    int
	}{
		"strip":         {strip, true, 4},
		"keep":          {two, false, 1 + 1 + 2},
		"auto, lax":     {auto, false, 1 + 1 + 2},
		"auto, strict":  {auto, true, 4},
		"all":           {Options{ImageListSelection: CopyAllImages}, true, 1 + 1 + 8},
		"single system": {Options{}, true, 3},
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
	all := Options{ImageListSelection: CopyAllImages}
	c.copy(t, "v1", all)

	rebuilt := imagetest.Platforms(7, 5, 1000)
	rebuilt.Image("new", imagetest.Platform("linux/arm/v6"))
	rebuilt.List("v2", imagetest.Entries("amd64", "arm64", "arm/v7", "ppc64le", "s390x", "riscv64", "386", "new"))
	c.src.push(rebuilt, "v2", "v2")
	_, source, destination := c.copy(t, "v2", all)
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.Equal(t, 1+1+2, source, "the list, and the new platform: a manifest, a config, a layer")
	assert.LessOrEqual(t, destination, 1+8+2*2+4+1+1, "the tag, one a child, and the new platform's")
	c.dst.check(imagetest.Want{Tag: "v1", Digest: rebuilt.Digest("v2"), Fixture: rebuilt})
}

// TestRequestsWidening goes from two platforms to three.
func TestRequestsWidening(t *testing.T) {
	c := newCounted(t, imagetest.Platforms(8, 5, 1000), false)
	o := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	c.copy(t, "v1", o)
	o.InstancePlatforms = platforms("linux/amd64", "linux/arm64", "linux/s390x")
	_, source, destination := c.copy(t, "v1", o)
	t.Logf("%d requests to the source, %d to the destination", source, destination)
	assert.Equal(t, 1+1+6, source)
	assert.LessOrEqual(t, destination, 1+1+3+6*2+4+1+1, "the tag, what the registry announces, one a child, and the new platform's")
}

// TestExistenceCheckRefused copies when the destination answers no question about what is there.
func TestExistenceCheckRefused(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 2, 100)
	src := places["registry"](t)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodHead, ""), registrytest.EveryNth(1, registrytest.Fail(403, "DENIED", "no"))),
	}), "app"}
	src.push(f, "v1", imagetest.Top)
	for range 2 {
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
		require.NoError(t, err)
		assert.True(t, r.Written)
		dst.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// TestAnnouncement holds a registry to what it says about sparse lists, before any blob is copied, and asks once.
func TestAnnouncement(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	two := Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64")}
	auto := two
	auto.SparseManifestListAction = AutoSparseManifestList
	for name, c := range map[string]struct {
		announce registrytest.Announcement
		options  Options
		action   SparseManifestListAction
		refused  string
	}{
		"keep, not taken":         {registrytest.Announcement{}, two, 0, "does not take them"},
		"keep, taken":             {registrytest.Announcement{Sparse: true}, two, KeepSparseManifestList, ""},
		"keep, required is there": {registrytest.Announcement{Sparse: true, Architectures: []string{"amd64"}}, two, KeepSparseManifestList, ""},
		"keep, required is not":   {registrytest.Announcement{Sparse: true, Architectures: []string{"ppc64le"}}, two, 0, "(linux/ppc64le)"},
		"auto, not taken":         {registrytest.Announcement{}, auto, StripSparseManifestList, ""},
		"auto, taken":             {registrytest.Announcement{Sparse: true}, auto, KeepSparseManifestList, ""},
		"auto, required is not":   {registrytest.Announcement{Sparse: true, Architectures: []string{"ppc64le"}}, auto, StripSparseManifestList, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src := places["registry"](t)
			src.push(f, "v1", imagetest.Top)
			dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Announce: &c.announce}), "app"}
			copier := NewCopier(CopierOptions{})
			defer copier.Close()
			now := time.Now()
			copier.SetClock(func() time.Time { return now })
			for i := range 3 {
				dst.DeleteTag("app", "v1")
				r, err := e.imageWith(t.Context(), copier, dst.ref("v1"), src.ref("v1"), c.options)
				assert.Equal(t, max(1, i), dst.Count(registrytest.Is(http.MethodGet, registrytest.KindOther)), "asked each ten minutes")
				now = now.Add(5 * time.Minute)
				if c.refused != "" {
					var refused *SparseRefusedError
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
		e := newEnv(t)
		src := places["registry"](t)
		src.push(f, "v1", imagetest.Top)
		dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true, Announce: &registrytest.Announcement{}}), "app"}
		dst.push(f, "complete", imagetest.Top)
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), two)
		require.NoError(t, err)
	})
}
