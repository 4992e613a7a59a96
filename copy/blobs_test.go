package copy_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/archive"
	ociarchive "go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// lenient is a place at a registry that takes lists of blobs, as distribution 2.8 does.
func lenient(t testing.TB) copytest.RegistryPlace {
	return copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Distribution28}), "cache")
}

// cachePlaces are ends that build caches travel between.
var cachePlaces = map[string]func(testing.TB) copytest.Place{
	"distribution 2.8": func(t testing.TB) copytest.Place { return lenient(t) },
	"layout":           copytest.Places["layout"],
}

// askedAsManifests returns which of the blobs a registry was asked for as manifests.
func askedAsManifests(r *registrytest.Registry, blobs []digest.Digest) []digest.Digest {
	var asked []digest.Digest
	for _, q := range r.Requests() {
		if d := digest.Digest(q.Ref); q.Kind == registrytest.KindManifest && slices.Contains(blobs, d) {
			asked = append(asked, d)
		}
	}
	return asked
}

// writes is the number of requests by which something was to change.
func writes(r *registrytest.Registry) int {
	return r.Count(func(q registrytest.Request) bool { return q.Method != http.MethodGet && q.Method != http.MethodHead })
}

// cacheChoices are selections, none of which means less than all of a build cache.
var cacheChoices = map[string]copy.Options{
	"default":  {},
	"all":      {ImageListSelection: copy.CopyAllImages},
	"auto":     copytest.Auto("linux/amd64"),
	"strip":    under(copy.StripSparseManifestList),
	"position": {ImageListSelection: copy.CopySpecificImages, InstanceIndexes: []int{1}},
}

// under selects one platform, under an action.
func under(action copy.SparseManifestListAction) copy.Options {
	o := copytest.Auto("linux/amd64")
	o.SparseManifestListAction = action
	return o
}

// TestCopyCache copies a build cache between all kinds of ends: whatever is selected, all of it
// comes, and a second copy writes nothing.
func TestCopyCache(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	for from, source := range cachePlaces {
		for to, destination := range cachePlaces {
			for name, o := range cacheChoices {
				t.Run(from+" to "+to+", "+name, func(t *testing.T) {
					e := copytest.NewEnv(t)
					src, dst := source(t), destination(t)
					src.Push(f, "v1", imagetest.Top)
					want := imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"layer.0", "config"}}
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
					require.NoError(t, err)
					dst.Check(want)
					assert.Equal(t, []int{4, 0, 1}, []int{r.BlobsCopied, r.BlobsReused, r.ManifestsCopied})
					for i, kind := range []string{"cache layer", "cache layer", "cache layer", "cache config"} {
						assert.Equal(t, kind, r.Instances[i].Kind)
						assert.Equal(t, copy.Copied, r.Instances[i].Outcome)
						assert.Equal(t, copy.Kept, r.Instances[i].Entry)
						assert.NotZero(t, r.Instances[i].Bytes)
					}
					registry, isRegistry := dst.(copytest.RegistryPlace)
					if isRegistry {
						registry.ResetLog()
					}
					r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
					require.NoError(t, err)
					assert.Equal(t, copy.CheckedChildren, r.Checked)
					assert.Equal(t, copy.Present, r.Instances[0].Outcome)
					if isRegistry {
						assert.Zero(t, writes(registry.Registry))
						assert.Empty(t, askedAsManifests(registry.Registry, f.Blobs(imagetest.Top)))
					}
					if registry, ok := src.(copytest.RegistryPlace); ok {
						assert.Empty(t, askedAsManifests(registry.Registry, f.Blobs(imagetest.Top)))
					}
					dst.Check(want)
				})
			}
		}
	}
}

// TestCopyCacheInDockersFormat copies what BuildKit writes with oci-mediatypes=false.
func TestCopyCacheInDockersFormat(t *testing.T) {
	f := imagetest.Cache(2, 1000, imagetest.Docker())
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})

	layout := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout"))
	r, err := e.Image(t.Context(), layout.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
	require.NoError(t, err)
	assert.Contains(t, r.Plan.List.Transform, "does not store", "a layout has no place for Docker's lists")
	assert.Equal(t, layout.Top("v1"), r.DestinationDigest)
	for _, b := range f.Blobs(imagetest.Top) {
		assert.NotEmpty(t, copytest.ManifestAt(layout, b)) // it stays Docker's
	}
}

// TestCacheIsRefused: a registry refuses a list of blobs, with the words by which it refuses a
// sparse list, or without any. Nothing is stripped, whatever the action, and the error says what it
// is.
func TestCacheIsRefused(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	for name, policy := range map[string]registrytest.ListPolicy{
		"distribution 3": registrytest.Distribution3, "Quay": registrytest.Quay, "zot": registrytest.Zot, "ECR": registrytest.ECR, "Gitea": registrytest.Gitea,
	} {
		for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList} {
			e := copytest.NewEnv(t)
			src := lenient(t)
			src.Push(f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy}), "cache")
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(action))
			refused := copytest.ErrorAs[*copy.BlobsRefusedError](t, err)
			assert.Equal(t, f.Digest(imagetest.Top), refused.List, name)
			assert.Equal(t, 4, refused.Blobs, name)
			assert.ErrorContains(t, err, "image-manifest=true", name)
			assert.NotContains(t, err.Error(), "sparse", name)
			copytest.ErrorAs[*copy.RegistryError](t, err)
			assert.Empty(t, dst.Top("v1"))
			for _, q := range dst.Requests() {
				if q.Method == http.MethodPut && q.Kind == registrytest.KindManifest {
					assert.Equal(t, "v1", q.Ref, "%s: nothing else was tried", name)
				}
			}
			assert.Empty(t, askedAsManifests(dst.Registry, f.Blobs(imagetest.Top)), name)
		}
	}
}

// TestCacheIsRefusedForAnotherReason: the error is the registry's.
func TestCacheIsRefusedForAnotherReason(t *testing.T) {
	f := imagetest.Cache(1, 1000)
	e := copytest.NewEnv(t)
	src := lenient(t)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: registrytest.Denied}), "cache")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
	copytest.ErrorAs[*copy.RegistryError](t, err)
	var refused *copy.BlobsRefusedError
	assert.NotErrorAs(t, err, &refused)
}

// TestCacheLosesABlob: what a registry has said to have, and does not have when it is given the
// list, is sent.
func TestCacheLosesABlob(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewEnv(t)
	src := lenient(t)
	src.Push(f, "v1", imagetest.Top)
	var dst copytest.RegistryPlace
	dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: func(l registrytest.ListPut) registrytest.Answer {
		if l.Attempt == 1 {
			assert.True(t, dst.DeleteBlob("cache", f.Digest("layer.1")))
			l.Children[1].Blob = false
		}
		return registrytest.Distribution28(l)
	}}), "cache")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestCacheIsCompleted: a blob that is lacking of what a tag names already is copied, and
// nothing else.
func TestCacheIsCompleted(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", imagetest.Top)
	require.True(t, dst.DeleteBlob("cache", f.Digest("layer.1")))
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	assert.Equal(t, []int{1, 0}, []int{r.BlobsCopied, r.ManifestsCopied})
	assert.Equal(t, copy.Present, r.Instances[0].Outcome)
	assert.Equal(t, copy.Copied, r.Instances[1].Outcome)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Late: []string{"layer.1"}})
}

// TestCacheLacksABlob: the source does not have all of a cache. Without SkipMissing that is an
// error; with it, the rest is copied, and the list stays as it is.
func TestCacheLacksABlob(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList} {
		e := copytest.NewEnv(t)
		src := lenient(t)
		src.Push(f, "v1", imagetest.Top, "layer.1")
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "cache")
		o := under(action)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.ErrorIs(t, err, copy.ErrNotFound)
		assert.Equal(t, copy.SourceSide, copytest.ErrorAs[*copy.Error](t, err).Side)
		assert.Empty(t, dst.Top("v1"))

		o.MissingInstances = copy.SkipMissing
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.True(t, r.Instances[1].Missing)
		assert.Equal(t, copy.Skipped, r.Instances[1].Outcome)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"layer.1"}})
		assert.Empty(t, askedAsManifests(src.Registry, f.Blobs(imagetest.Top)))
	}
}

// TestCacheLacksABlobBehindAProxy: a web page in the place of an answer leaves open whether a blob
// is missing, and only of a GET that is known.
func TestCacheLacksABlobBehindAProxy(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{AbsentPage: true}), "cache")
	src.Push(f, "v1", imagetest.Top, "layer.1")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "cache")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{MissingInstances: copy.SkipMissing})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Absent: []string{"layer.1"}})
}

// TestIncompleteCacheIsRefused: a registry that takes caches refuses one that lacks a blob, and the
// error says that it does.
func TestIncompleteCacheIsRefused(t *testing.T) {
	f := imagetest.Cache(3, 1000)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top, "layer.1")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{MissingInstances: copy.SkipMissing})
	refused := copytest.ErrorAs[*copy.BlobsRefusedError](t, err)
	assert.Equal(t, []int{4, 1}, []int{refused.Blobs, refused.LeftOut})
	assert.ErrorContains(t, err, "in which 4 entries name blobs and no manifest (1 of which the copy leaves out)")
	assert.Empty(t, dst.Top("v1"))
}

// TestCacheWithLargeLayers: what is attached in a layout is found without the layers of its caches,
// which are no manifests.
func TestCacheWithLargeLayers(t *testing.T) {
	f := imagetest.Cache(1, 5<<20)
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType(copytest.SbomType))
	e := copytest.NewEnv(t)
	src, via, dst := lenient(t), copytest.Places["layout"](t), lenient(t)
	src.Push(f, "v1", "amd64")
	src.Push(f, "", "sbom")
	via.Push(f, "cache", imagetest.Top)
	o := copy.Options{Referrers: copy.AllReferrers, DigestTags: true}
	_, err := e.Image(t.Context(), via.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	_, err = e.Image(t.Context(), dst.Ref("v1"), via.Ref("v1"), o)
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
	assert.Equal(t, f.Digests("sbom"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
}

// TestCacheUnderAReferrersTag: a cache that a referrers tag names lists no referrers, and is not
// changed to list some.
func TestCacheUnderAReferrersTag(t *testing.T) {
	f := imagetest.Cache(1, 1000)
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	f.Artifact("sbom", imagetest.Subject("amd64"), imagetest.ArtifactType(copytest.SbomType))
	e := copytest.NewEnv(t)
	src := lenient(t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	src.Push(f, "v1", "amd64")
	src.Push(f, "", "sbom")
	tag := copytest.DigestTag(f.Digest("amd64"), "")
	for _, p := range []copytest.RegistryPlace{src, dst} {
		p.Push(f, tag, imagetest.Top)
	}
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{Referrers: copy.AllReferrers})
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), dst.Top(tag))
	require.Len(t, r.Warnings, 1)
	assert.Contains(t, r.Warnings[0], "an index of images or blobs")
}

// TestCacheInAList copies a list with images and a build cache: the list around it is stripped, the
// cache is not, and a layer that both have is copied once.
func TestCacheInAList(t *testing.T) {
	f := imagetest.New()
	f.AddCache("cache", 2, 1000)
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("cache/layer.0"))
	f.Image("arm64", imagetest.Platform("linux/arm64"))
	f.List(imagetest.Top, imagetest.Entries("amd64", "arm64", "cache"))
	for to, destination := range cachePlaces {
		e := copytest.NewEnv(t)
		src, dst := lenient(t), destination(t)
		src.Push(f, "v1", imagetest.Top)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.StripSparseManifestList))
		require.NoError(t, err, to)
		dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Present: []string{"amd64", "cache", "cache/config"}, Absent: []string{"arm64"}})
		assert.Equal(t, 4, r.BlobsCopied, to)
		assert.Equal(t, 1, src.Count(func(q registrytest.Request) bool {
			return q.Kind == registrytest.KindBlob && q.Ref == f.Digest("cache/layer.0").String()
		}), to)
	}
}

// TestBlobThatIsAManifest copies a list that names one digest as a manifest and as a blob: it is
// copied as both.
func TestBlobThatIsAManifest(t *testing.T) {
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	doc, _ := f.Document("amd64")
	f.Blob("twin", imgspecv1.MediaTypeImageLayer, doc)
	f.List(imagetest.Top, imagetest.Entries("twin", "amd64"))
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top) // with the twin, which the fixture takes for the same
	src.Push(f, "", "amd64")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	_, isBlob := dst.Blob("cache", f.Digest("amd64"))
	_, _, isManifest := dst.Manifest("cache", f.Digest("amd64").String())
	assert.True(t, isBlob && isManifest)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestCacheThatLies copies nothing whose digest or size is another one than its entry states.
func TestCacheThatLies(t *testing.T) {
	for name, entry := range map[string]imagetest.Option{
		"a larger size": imagetest.Entry("layer", imagetest.EntrySize(100000)), "a smaller size": imagetest.Entry("layer", imagetest.EntrySize(100)),
	} {
		f := imagetest.New()
		f.Layer("layer")
		f.List(imagetest.Top, entry)
		e := copytest.NewEnv(t)
		src, dst := lenient(t), lenient(t)
		src.Push(f, "v1", imagetest.Top)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
		assert.Equal(t, copy.SourceSide, copytest.ErrorAs[*copy.Error](t, err).Side, name)
		assert.Empty(t, dst.Top("v1"), name)
	}
	f := imagetest.New()
	f.Layer("layer")
	f.List(imagetest.Top, imagetest.Entry("layer"), imagetest.Entry("layer", imagetest.EntrySize(100)))
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	assert.ErrorContains(t, err, "100 bytes for "+f.Digest("layer").String(), "one of two sizes is wrong")
	assert.Empty(t, dst.Blobs("cache"))
}

// TestPolicyJudgesACache: nothing of a cache is asked for before the policy has allowed its list,
// and a cache that is there already is judged as well.
func TestPolicyJudgesACache(t *testing.T) {
	f := imagetest.Cache(1, 1000)
	e := copytest.NewEnv(t)
	e.Policy = e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRReject()}})
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	for range 2 {
		for _, missing := range []copy.MissingInstanceAction{copy.FailOnMissing, copy.SkipMissing} {
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: missing})
			assert.Equal(t, f.Digest(imagetest.Top), copytest.ErrorAs[*copy.RejectedError](t, err).Digest)
			assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindBlob }))
		}
		dst.Push(f, "v1", imagetest.Top)
	}
}

// TestUpstreamCannotCopyACache: what upstream would have to do is an error that says so.
func TestUpstreamCannotCopyACache(t *testing.T) {
	f := imagetest.Cache(1, 1000)
	e := copytest.NewEnv(t)
	src := lenient(t)
	src.Push(f, "v1", imagetest.Top)
	ref, err := archive.NewReference(filepath.Join(t.TempDir(), "archive.tar"), nil)
	require.NoError(t, err)
	_, err = e.Image(t.Context(), ref, src.Ref("v1"), copy.Options{})
	assert.ErrorContains(t, err, "the list names blobs")
	assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindBlob }))
}

// TestPrepareOfACache plans without writing, and executes what was planned.
func TestPrepareOfACache(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	prepared, err := e.Copier(copy.Options{}).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(copy.Options{CompareDestination: true}))
	require.NoError(t, err)
	defer func() { require.NoError(t, prepared.Close()) }()
	assert.Equal(t, 3, prepared.Plan().Blobs)
	assert.Zero(t, writes(dst.Registry))
	_, err = prepared.Execute(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestCheckBlobsOfACache looks at every blob of what is there already, and writes nothing.
func TestCheckBlobsOfACache(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", imagetest.Top)
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{CheckBlobs: true})
	require.NoError(t, err)
	assert.Equal(t, copy.CheckedBlobs, r.Checked)
	assert.Equal(t, []int{0, 3, 0}, []int{r.BlobsCopied, r.BlobsReused, r.ManifestsCopied})
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestInspectACache says what the entries of a cache are, and which are there, without asking for
// one of them as a manifest.
func TestInspectACache(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	for to, destination := range cachePlaces {
		e := copytest.NewEnv(t)
		at := destination(t)
		at.Push(f, "v1", imagetest.Top, "layer.1")
		found, err := copy.Inspect(t.Context(), at.Ref("v1"), &copy.ReadOptions{SystemContext: e.Sys})
		require.NoError(t, err, to)
		require.Len(t, found.Entries, 3)
		assert.Equal(t, []string{"cache layer", "cache layer", "cache config"}, []string{found.Entries[0].Kind, found.Entries[1].Kind, found.Entries[2].Kind})
		assert.Equal(t, []bool{false, true, false}, []bool{found.Entries[0].Missing, found.Entries[1].Missing, found.Entries[2].Missing}, to)
		assert.Equal(t, copy.InspectedTotals{
			Manifests: 1, ManifestBytes: f.Size(imagetest.Top), Missing: 1, Blobs: 3, BlobBytes: f.Size("layer.0") + f.Size("layer.1") + f.Size("config"),
		}, found.Totals)
		if registry, ok := at.(copytest.RegistryPlace); ok {
			assert.Empty(t, askedAsManifests(registry.Registry, f.Blobs(imagetest.Top)))
		}
	}
}

// TestVerifyACache finds what is missing of a cache, and what is not what its digest says.
func TestVerifyACache(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewEnv(t)
	src := lenient(t)
	src.Push(f, "v1", imagetest.Top)
	for to, destination := range cachePlaces {
		for _, read := range []bool{false, true} {
			dst := destination(t)
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
			require.NoError(t, err, to)
			verify := func() *copy.Verification {
				o := under(copy.AutoSparseManifestList)
				v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o), ReadBlobs: read})
				require.NoError(t, err, to)
				return v
			}
			v := verify()
			assert.Empty(t, v.Violations, to)
			assert.Equal(t, 3, v.Blobs, to)
			if layout, ok := dst.(copytest.LayoutPlace); ok {
				require.NoError(t, os.Truncate(filepath.Join(layout.Dir, "blobs", "sha256", f.Digest("layer.1").Encoded()), 10))
			} else {
				require.True(t, dst.(copytest.RegistryPlace).DeleteBlob("cache", f.Digest("layer.1")))
			}
			v = verify()
			if assert.Len(t, v.Violations, 1, to) {
				assert.Equal(t, []any{f.Digest("layer.1"), "layer"}, []any{v.Violations[0].Digest, v.Violations[0].What}, to)
			}
		}
	}
}

// TestCacheThroughFiles carries a cache through a directory and an archive of files, and back.
func TestCacheThroughFiles(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	dir, err := directory.NewReference(filepath.Join(t.TempDir(), "dir"))
	require.NoError(t, err)
	archived, err := ociarchive.NewReference(filepath.Join(t.TempDir(), "archive.tar"), "v1")
	require.NoError(t, err)
	at := src.Ref("v1")
	for _, next := range []types.ImageReference{dir, archived, dst.Ref("v1")} {
		_, err = e.Image(t.Context(), next, at, under(copy.StripSparseManifestList))
		require.NoError(t, err, next.Transport().Name())
		at = next
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestSignedCache: a cache whose list is signed is allowed by a policy that wants signatures, and
// brings them along; without one it is rejected, and nothing of it is read.
func TestSignedCache(t *testing.T) {
	f := imagetest.Cache(2, 1000)
	e := copytest.NewAttachmentsEnv(t)
	src, dst := lenient(t), lenient(t)
	src.Push(f, "v1", imagetest.Top)
	c := newCosigner(t, src.Host()+"/cache")
	e.Policy = c.policy(e)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
	assert.Equal(t, f.Digest(imagetest.Top), copytest.ErrorAs[*copy.RejectedError](t, err).Digest)
	assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Kind == registrytest.KindBlob }))

	tagged(t, src, f.Digest(imagetest.Top), c)
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), under(copy.AutoSparseManifestList))
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.NoError(t, c.verify(e, dst, f.Digest(imagetest.Top)))
}
