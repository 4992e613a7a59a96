package copy_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/cache"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// withCache copies from a registry to another one with a Copier of its own, as a program does that
// is started again, and with a cache that stays.
type withCache struct {
	*counted
	cache copy.DocumentCache
}

func newWithCache(t *testing.T, f *imagetest.Fixture) *withCache {
	return &withCache{newCounted(t, f, false), cache.Memory(0)}
}

// again copies, and returns the requests to the source by method, and what they were about.
func (c *withCache) again(t *testing.T, o copy.Options) (r *copy.Report, asked map[string]int, err error) {
	t.Helper()
	c.src.ResetLog()
	r, err = c.ImageWith(t.Context(), copytest.NewCopier(t, copy.CopierOptions{Cache: c.cache}), c.dst.Ref("v1"), c.src.Ref("v1"), o)
	asked = map[string]int{}
	for _, q := range c.src.Requests() {
		asked[q.Method+" "+string(q.Kind)]++
	}
	return r, asked, err
}

// TestCacheNothingToDo demands that a list which has not changed costs its source one HEAD.
func TestCacheNothingToDo(t *testing.T) {
	two := copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64")}
	strip := two
	strip.SparseManifestListAction = copy.StripSparseManifestList
	for name, o := range map[string]copy.Options{
		"strip": strip, "keep": two, "all": {ImageListSelection: copy.CopyAllImages}, "single system": {},
	} {
		t.Run(name, func(t *testing.T) {
			without := newCounted(t, imagetest.Platforms(8, 5, 1000), false)
			_, fresh, _ := without.copy(t, "v1", o)
			c := newWithCache(t, without.f)
			_, _, err := c.again(t, o)
			require.NoError(t, err)
			assert.Len(t, c.src.Requests(), fresh, "a fresh copy asks for as much as without a cache")
			for range 2 {
				r, asked, err := c.again(t, o)
				require.NoError(t, err)
				assert.False(t, r.Written)
				assert.Equal(t, map[string]int{"HEAD manifest": 1}, asked)
			}
		})
	}
}

// TestCacheOneChanged rebuilds one of eight platforms: what has not changed is not read again.
func TestCacheOneChanged(t *testing.T) {
	c := newWithCache(t, imagetest.Platforms(8, 5, 1000))
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	_, _, err := c.again(t, all)
	require.NoError(t, err)
	rebuilt := imagetest.Platforms(7, 5, 1000)
	rebuilt.Image("new", imagetest.Platform("linux/arm/v6"))
	rebuilt.List("v2", imagetest.Entries("amd64", "arm64", "arm/v7", "ppc64le", "s390x", "riscv64", "386", "new"))
	c.src.Push(rebuilt, "v1", "v2")
	_, asked, err := c.again(t, all)
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"HEAD manifest": 1, "GET manifest": 2, "GET blob": 2}, asked)
	c.dst.Check(imagetest.Want{Tag: "v1", Digest: rebuilt.Digest("v2"), Fixture: rebuilt})
}

// TestCacheHeals loses what the destination had: manifests come from the cache, after the source
// has said that it has them still.
func TestCacheHeals(t *testing.T) {
	c := newWithCache(t, imagetest.Platforms(4, 2, 1000))
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	_, _, err := c.again(t, all)
	require.NoError(t, err)
	require.True(t, c.dst.DeleteManifest("app", c.f.Digest("arm64")))
	_, asked, err := c.again(t, all)
	require.NoError(t, err)
	assert.Equal(t, 2, asked["HEAD manifest"])
	assert.Zero(t, asked["GET manifest"])
	_, _, ok := c.dst.Manifest("app", c.f.Digest("arm64").String())
	assert.True(t, ok)
}

// TestCacheDoesNotSayWhatIsThere loses an image at both ends: that the cache has its manifest still
// makes it no less missing.
func TestCacheDoesNotSayWhatIsThere(t *testing.T) {
	all := copy.Options{ImageListSelection: copy.CopyAllImages}
	skip := all
	skip.MissingInstances, skip.SparseManifestListAction = copy.SkipMissing, copy.StripSparseManifestList
	for name, lose := range map[string]func(c *withCache, config digest.Digest){
		"its manifest": func(c *withCache, _ digest.Digest) { c.src.DeleteManifest("app", c.f.Digest("arm64")) },
		"a blob of it": func(c *withCache, config digest.Digest) { c.src.DeleteBlob("app", config) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newWithCache(t, imagetest.Platforms(4, 2, 1000))
			_, _, err := c.again(t, all)
			require.NoError(t, err)
			var image imgspecv1.Manifest
			content, _, _ := c.src.Manifest("app", c.f.Digest("arm64").String())
			require.NoError(t, json.Unmarshal(content, &image))

			// What the destination has still, nobody needs.
			require.True(t, c.dst.DeleteManifest("app", c.f.Digest("arm64")))
			c.src.DeleteBlob("app", image.Config.Digest)
			_, _, err = c.again(t, all)
			require.NoError(t, err)
			c.src.Push(c.f, "v1", imagetest.Top)

			require.True(t, c.dst.DeleteManifest("app", c.f.Digest("arm64")))
			require.True(t, c.dst.DeleteBlob("app", image.Config.Digest))
			lose(c, image.Config.Digest)
			_, _, err = c.again(t, all)
			var missing *copy.MissingError
			require.ErrorAs(t, err, &missing)
			require.Len(t, missing.Missing, 1)
			assert.Equal(t, c.f.Digest("arm64"), missing.Missing[0].Digest)

			r, _, err := c.again(t, skip)
			require.NoError(t, err)
			assert.True(t, r.Written)
			assert.True(t, slices.ContainsFunc(r.Instances, func(in copy.InstanceReport) bool { return in.Reason.Code == copy.ReasonMissing }))
		})
	}
}

// TestCacheOfAttachments demands that nothing of what is attached is read again, and that each of
// the digest tags costs HEADs alone.
func TestCacheOfAttachments(t *testing.T) {
	f := copytest.AttachedFixture()
	for name, api := range map[string]bool{"referrers API": true, "referrers tags": false} {
		t.Run(name, func(t *testing.T) {
			c := &withCache{&counted{
				Env: copytest.NewAttachmentsEnv(t), f: f,
				src: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !api}), "app"),
				dst: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
			}, cache.Memory(0)}
			copytest.PushAttached(t, f, c.src, api)
			o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
			_, _, err := c.again(t, o)
			require.NoError(t, err)
			before := c.dst.Snapshot("app")
			_, asked, err := c.again(t, o)
			require.NoError(t, err)
			assert.Zero(t, asked["GET manifest"]+asked["GET blob"], asked)
			assert.Equal(t, before, c.dst.Snapshot("app"))

			// What comes later is found all the same.
			c.src.Push(f, copytest.DigestTag(f.Digest("arm64"), ".sig"), "cosign-ppc64le")
			_, _, err = c.again(t, o)
			require.NoError(t, err)
			assert.Equal(t, f.Digest("cosign-ppc64le"), c.dst.Top(copytest.DigestTag(f.Digest("arm64"), ".sig")))
		})
	}
}

// TestCacheOfOriginals demands that signatures which travel along with a stripped list are not read
// again, nor the config that says of which platform a single image is.
func TestCacheOfOriginals(t *testing.T) {
	f := copytest.AttachedFixture()
	two := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList,
	}
	proven := two
	proven.AttachOriginal = true
	for name, o := range map[string]copy.Options{imagetest.Top: proven, "amd64": two} {
		t.Run(name, func(t *testing.T) {
			c := &withCache{&counted{
				Env: copytest.NewAttachmentsEnv(t), f: f,
				src: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
				dst: copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app"),
			}, cache.Memory(0)}
			copytest.PushAttached(t, f, c.src, true)
			c.src.Push(f, "v1", name)
			_, first, err := c.again(t, o)
			require.NoError(t, err)
			assert.NotZero(t, first["GET blob"])
			_, asked, err := c.again(t, o)
			require.NoError(t, err)
			assert.Zero(t, asked["GET manifest"]+asked["GET blob"], asked)
		})
	}
}

// TestCacheOfInspections inspects a source twice, and after it has lost an image.
func TestCacheOfInspections(t *testing.T) {
	c := newWithCache(t, imagetest.Platforms(4, 2, 1000))
	inspect := func() *copy.Inspection {
		c.src.ResetLog()
		found, err := copytest.NewCopier(t, copy.CopierOptions{Cache: c.cache}).
			Inspect(t.Context(), c.src.Ref("v1"), &copy.ReadOptions{SystemContext: c.Sys})
		require.NoError(t, err)
		return found
	}
	want := inspect()
	assert.Equal(t, want, inspect())
	assert.Zero(t, c.src.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodGet && q.Kind == registrytest.KindManifest
	}))
	c.src.DeleteManifest("app", c.f.Digest("arm64"))
	assert.Equal(t, want.Totals.Missing+1, inspect().Totals.Missing)
}
