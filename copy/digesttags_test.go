package copy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// filed are the suffixes of digest tags that tools write: cosign, imgpkg, Konflux, and this one.
var filed = []string{".sig", ".imgpkg", ".image-locations.imgpkg", ".src", ".dockerfile", ".git", ".child"}

// pushFiled pushes a list of three platforms, and an artifact by a digest tag for each of filed and
// each platform.
func pushFiled(p copytest.Place) *imagetest.Fixture {
	f := imagetest.Platforms(3, 1, 100)
	p.Push(f, "v1", imagetest.Top)
	for _, name := range []string{"amd64", "arm64", "arm/v7"} {
		for _, suffix := range filed {
			artifact := name
			if suffix != ".child" {
				artifact += suffix
				f.Blob("layer of "+artifact, "application/vnd.example", []byte(artifact))
				f.Artifact(artifact, imagetest.Layers("layer of "+artifact))
			}
			p.Push(f, digesttag.Name(f.Digest(name), suffix), artifact)
		}
	}
	p.Push(f, digesttag.Name(f.Digest("amd64.src"), ".sig"), "arm64.sig")
	return f
}

// TestAllDigestTags carries digest tags with any suffix between places of all kinds: those of what
// is copied, and what tags name that are named after them. Those of others stay behind.
func TestAllDigestTags(t *testing.T) {
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, DigestTags: true, DigestTagSuffixes: copy.AllDigestTags,
	}
	for from, newSource := range copytest.AttachablePlaces {
		for to, newDestination := range copytest.AttachablePlaces {
			t.Run(from+" to "+to, func(t *testing.T) {
				e := copytest.NewEnv(t)
				src, dst := newSource(t), newDestination(t)
				f := pushFiled(src)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7", "arm/v7.src"}})
				for _, suffix := range filed {
					for _, name := range []string{"amd64", "arm64"} {
						artifact := name
						if suffix != ".child" {
							artifact += suffix
						}
						tag := digesttag.Name(f.Digest(name), suffix)
						assert.Equal(t, f.Digest(artifact), dst.Top(tag), artifact)
						dst.Check(imagetest.Want{Tag: tag, Fixture: f})
					}
					assert.Empty(t, dst.Top(digesttag.Name(f.Digest("arm/v7"), suffix)), suffix)
				}
				assert.Equal(t, f.Digest("arm64.sig"), dst.Top(digesttag.Name(f.Digest("amd64.src"), ".sig")))
				v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o), ReadBlobs: true})
				require.NoError(t, err)
				assert.Empty(t, v.Violations)
				assert.Equal(t, 2*len(filed)+1, v.Attached)

				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, again.Written)
				assert.Zero(t, again.BlobsCopied+again.ManifestsCopied)
			})
		}
	}
}

// TestTagsThatListReferrers: without a suffix, a digest tag is the one that lists referrers. It is
// copied if they are not asked for, and what the destination lists by it stays.
func TestTagsThatListReferrers(t *testing.T) {
	f := copytest.AttachedFixture()
	for _, referrers := range []copy.ReferrerAction{copy.NoReferrers, copy.AllReferrers} {
		t.Run(fmt.Sprintf("referrers %d", referrers), func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true, Strict: true}), "app")
			copytest.PushAttached(t, f, src, false)
			dst.Push(f, "v1", imagetest.Top)
			copytest.AttachTo(t, dst, f, "amd64", "sig-sbom-arm64") // whatever that is
			o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: referrers, DigestTags: true, DigestTagSuffixes: copy.AllDigestTags}
			for range 2 {
				dst.ResetLog()
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f})
				assert.ElementsMatch(t, f.Digests("sbom-amd64", "sig-sbom-arm64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
				assert.Equal(t, f.Digests("sig-sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("sbom-amd64")))
			}
			assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")), "the second run writes nothing")
		})
	}
}

// TestImagesTaggedByTheirDigests, as cosign copy tags them: the tag is copied, but not where
// referrers are, since it would stand for a list of them.
func TestImagesTaggedByTheirDigests(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	for _, referrers := range []copy.ReferrerAction{copy.NoReferrers, copy.AllReferrers} {
		e := copytest.NewEnv(t)
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
		src.Push(f, "v1", imagetest.Top)
		for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
			src.Push(f, digesttag.Name(f.Digest(name), ""), name)
		}
		o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: referrers, DigestTags: true, DigestTagSuffixes: copy.AllDigestTags}
		for range 2 {
			dst.ResetLog()
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
			for _, name := range []string{imagetest.Top, "amd64", "arm64"} {
				want := f.Digest(name)
				if referrers != copy.NoReferrers {
					want = ""
				}
				assert.Equal(t, want, dst.Top(digesttag.Name(f.Digest(name), "")), name)
			}
		}
		assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")), "the second run writes nothing")
	}
}

// TestKeptTags: what a tag without a suffix names at the destination stays if it is something else,
// and that is said, each time.
func TestKeptTags(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	tag := digesttag.Name(f.Digest("amd64"), "")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, tag, "amd64")
	dst.Push(f, tag, "arm64")
	for range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
			ImageListSelection: copy.CopyAllImages, DigestTags: true, DigestTagSuffixes: copy.AllDigestTags,
		})
		require.NoError(t, err)
		assert.Equal(t, f.Digest("arm64"), dst.Top(tag))
		assert.Equal(t, []string{fmt.Sprintf("tag %s names %s at the destination, and not %s: it stays", tag, f.Digest("arm64"), f.Digest("amd64"))}, r.Warnings)
	}
}

// TestListedDigestTags counts the requests for the digest tags of a list of eight platforms: 27
// questions, or one list of tags, and the list's own three.
func TestListedDigestTags(t *testing.T) {
	f := imagetest.Platforms(8, 1, 100)
	o := copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true}
	for name, c := range map[string]struct {
		registry registrytest.Options
		tags     int // in the repository, beside the digest tags
		all      bool
		lists    int // of tags that are asked for: pages
		asked    int // tags that are asked for
		err      string
	}{
		"listed":          {lists: 1, asked: 3 + 2 - 1},
		"in a few pages":  {registry: registrytest.Options{PageSize: 1000}, tags: 1500, lists: 2, asked: 3 + 2 - 1},
		"in many pages":   {registry: registrytest.Options{PageSize: 100}, tags: 1500, lists: 2, asked: 9*3 + 2*3},
		"all":             {all: true, lists: 1, asked: 3 + 2 - 1},
		"all, many pages": {registry: registrytest.Options{PageSize: 100}, tags: 1500, all: true, lists: 16, asked: 3 + 2 - 1},
		"refused":         {registry: refusesTags(http.StatusForbidden), lists: 1, asked: 9*3 + 2*3},
		"not known":       {registry: refusesTags(http.StatusNotFound), lists: 1, asked: 9*3 + 2*3},
		"broken":          {registry: refusesTags(http.StatusInternalServerError), lists: 2, asked: 9*3 + 2*3},
		"all, refused": {registry: refusesTags(http.StatusMethodNotAllowed), all: true, lists: 1, asked: 3,
			err: "AllDigestTags needs a list of all tags, CosignDigestTags does not"},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, c.registry), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
			src.Push(f, "v1", imagetest.Top)
			signatures := imagetest.New()
			for _, name := range []string{imagetest.Top, "arm64"} {
				signatures.Blob("layer of "+name, copytest.SignatureType, []byte(name))
				signatures.Artifact("sig of "+name, imagetest.Layers("layer of "+name))
				src.Push(signatures, digesttag.Name(f.Digest(name), ".sig"), "sig of "+name)
			}
			content, mediaType := f.Document("amd64")
			for i := range c.tags {
				src.PutManifest("app", fmt.Sprintf("t%04d", i), mediaType, content)
			}
			options := o
			if c.all {
				options.DigestTagSuffixes = copy.AllDigestTags
			}
			src.ResetLog()
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
			assert.Equal(t, c.lists, src.Count(registrytest.Is(http.MethodGet, registrytest.KindTags)))
			assert.Equal(t, c.asked, src.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindManifest && digesttag.Is(q.Ref) }))
			if c.err != "" {
				var list *copy.TagListError
				require.ErrorAs(t, err, &list)
				assert.ErrorContains(t, err, "source: listing the tags of docker://"+src.Host()+"/app:v1")
				assert.ErrorContains(t, err, c.err)
				assert.Empty(t, dst.Tags("app"))
				return
			}
			require.NoError(t, err)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
			for _, name := range []string{imagetest.Top, "arm64"} {
				assert.Equal(t, signatures.Digest("sig of "+name), dst.Top(digesttag.Name(f.Digest(name), ".sig")))
			}
			assert.Empty(t, r.Warnings)

			dst.ResetLog()
			_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
			require.NoError(t, err)
			assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")), "the second run writes nothing")
		})
	}
}

// refusesTags is a registry that does not list its tags.
func refusesTags(status int) registrytest.Options {
	return registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodGet, registrytest.KindTags),
		func(int, *http.Request) registrytest.Answer { return registrytest.Fail(status, "UNSUPPORTED", "no") })}
}
