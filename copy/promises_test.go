package copy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestAutoWithoutStrip gives both reasons when the registry refuses the sparse list and the list
// must not change.
func TestAutoWithoutStrip(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := copytest.Places["registry"](t)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
		SparseManifestListAction: copy.AutoSparseManifestList, PreserveDigests: true,
	})
	var refused *copy.SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, refused.NotStripped, "PreserveDigests")
	var registry *copy.RegistryError
	require.ErrorAs(t, err, &registry)
	assert.ElementsMatch(t, f.Digests("arm64", "arm/v7"), refused.Absent)
	assert.Empty(t, dst.Top("v1"))
}

// TestLostChild pushes a child again that the registry has lost between its manifest and the list.
func TestLostChild(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	for name, action := range map[string]copy.SparseManifestListAction{"keep": copy.KeepSparseManifestList, "auto": copy.AutoSparseManifestList} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top)
			var dst copytest.RegistryPlace
			lose := registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindManifest), func(n int, _ *http.Request) registrytest.Answer {
				if n == 3 { // the list, after two children
					dst.DeleteManifest("app", f.Digest("amd64"))
				}
				return registrytest.Answer{}
			})
			// One that tells what is missing of what it requires, and accepts what is sparse
			// otherwise.
			dst = copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Script: lose, ListPolicy: registrytest.RequireArchitectures("amd64", "arm64"),
			}), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
				SparseManifestListAction: action,
			})
			require.NoError(t, err)
			assert.Equal(t, copy.KeepSparseManifestList, r.Action, "what was lost is no reason to strip")
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7"}})
		})
	}
}

// TestSingleImagePlatform checks a single image by its config.
func TestSingleImagePlatform(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", "arm64")
	filter := func(filters ...string) copy.Options {
		return copy.Options{ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...)}
	}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), filter("linux/amd64"))
	var none *copy.NoMatchError
	require.ErrorAs(t, err, &none)
	assert.Equal(t, []string{"linux/arm64"}, none.Offered)
	assert.Empty(t, dst.Snapshot(dst.Repo))

	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{RequiredPlatforms: copytest.Platforms("linux/amd64")})
	var required *copy.RequiredError
	require.ErrorAs(t, err, &required)

	for _, o := range []copy.Options{filter("linux/amd64", "linux/arm64"), filter("!windows/*"), {RequiredPlatforms: copytest.Platforms("linux/arm64")}} {
		_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, f.Digest("arm64"), dst.Top("v1"))
	}
}

// TestRequiredMissing fails before anything is written.
func TestRequiredMissing(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top, "arm64")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, RequiredPlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
	})
	var required *copy.RequiredError
	require.ErrorAs(t, err, &required)
	assert.Equal(t, []copy.RequiredPlatform{{Platform: "linux/arm64", Digest: f.Digest("arm64"), Reason: "missing at the source"}}, required.Failed)
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, required.Required)
	assert.Empty(t, dst.Snapshot(dst.Repo))
}

// TestMirrorOfAMirror copies a kept sparse list on, with only what is there, to a registry that
// accepts it and to one that does not.
func TestMirrorOfAMirror(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.WithAttestations()
	origin, mirror := copytest.Places["registry"](t), copytest.Places["registry"](t)
	origin.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), mirror.Ref("v1"), origin.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
	})
	require.NoError(t, err)
	on := copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, SparseManifestListAction: copy.AutoSparseManifestList}

	lax := copytest.Places["registry"](t)
	r, err := e.Image(t.Context(), lax.Ref("v1"), mirror.Ref("v1"), on)
	require.NoError(t, err)
	absent := []string{"arm64", "s390x", "att-arm64", "att-s390x"}
	lax.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Present: []string{"amd64", "att-amd64"}, Absent: absent})
	for _, i := range r.Instances {
		assert.Equal(t, i.Outcome == copy.Skipped, i.Missing, "what is missing is reported apart from what was not selected")
	}

	strict := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	r, err = e.Image(t.Context(), strict.Ref("v1"), mirror.Ref("v1"), on)
	require.NoError(t, err)
	strict.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Only: true, Present: []string{"amd64", "att-amd64"}, Absent: absent})
}

// TestPrepared plans without touching the destination, and executes exactly that.
func TestPrepared(t *testing.T) {
	e := copytest.NewEnv(t)
	f, other := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList,
	}
	prepared, err := e.Copier(o).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(o))
	require.NoError(t, err)
	plan := prepared.Plan()
	assert.Empty(t, dst.Requests())
	assert.Equal(t, f.Digests("amd64", "arm64"), plan.Copies)
	assert.Equal(t, 6, plan.Blobs)

	other.PushTo(src.Registry, "app", "v1", "amd64") // the tag moves on
	src.Push(other, "v1", "amd64")
	r, err := prepared.Execute(t.Context())
	require.NoError(t, err)
	assert.Equal(t, plan.Digest, r.DestinationDigest)
	dst.Check(imagetest.Want{Tag: "v1", Digest: plan.Digest, Fixture: f, Only: true, Present: []string{"amd64", "arm64"}})
	_, err = prepared.Execute(t.Context())
	require.Error(t, err, "once")
	require.NoError(t, prepared.Close())
}

// TestPreparedAgainstDestination refuses to execute when the destination is no longer what was
// planned for.
func TestPreparedAgainstDestination(t *testing.T) {
	e := copytest.NewEnv(t)
	f, other := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	dst.Push(f, "v1", "arm64")
	prepared, err := e.Copier(copy.Options{}).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(copy.Options{
		ImageListSelection: copy.CopyAllImages, CompareDestination: true,
	}))
	require.NoError(t, err)
	defer func() { require.NoError(t, prepared.Close()) }()
	assert.Equal(t, f.Digests("amd64", "arm/v7"), prepared.Plan().Copies, "one is there")

	dst.Push(other, "v1", "amd64")
	before := dst.Snapshot(dst.Repo)
	_, err = prepared.Execute(t.Context())
	var changed *copy.ChangedError
	require.ErrorAs(t, err, &changed)
	assert.Equal(t, f.Digest("arm64"), changed.Planned)
	assert.Equal(t, other.Digest("amd64"), changed.Found)
	assert.Equal(t, before, dst.Snapshot(dst.Repo))
}

// TestPlanEqualsReport holds the report of a copy to its plan, and copies with different numbers in
// flight to each other.
func TestPlanEqualsReport(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{
		"platforms": imagetest.Platforms(4, 2, 100, imagetest.SharedBase()), "nested": imagetest.Nested(),
		"attestations": imagetest.WithAttestations(), "equal digests": imagetest.EqualDigests(),
	} {
		for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList} {
			t.Run(name+"/"+action.String(), func(t *testing.T) {
				e := copytest.NewEnv(t)
				src := copytest.Places["registry"](t)
				src.Push(f, "v1", imagetest.Top)
				var snapshots []string
				for _, parallel := range []uint{1, 2, 64} {
					dst := copytest.Places["registry"](t).(copytest.RegistryPlace)
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
						ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
						SparseManifestListAction: action, MaxParallelDownloads: parallel,
					})
					require.NoError(t, err)
					assert.Equal(t, r.Plan.Digest, r.DestinationDigest)
					assert.Equal(t, r.Plan.Digest, dst.Top("v1"))
					assert.Equal(t, r.Plan.Blobs, r.BlobsCopied)
					assert.Equal(t, r.Plan.Bytes, r.BytesCopied)
					copied := map[string]bool{}
					var bytes int64
					for _, i := range r.Instances {
						if i.Outcome == copy.Copied && !i.Nested && !copied[i.Digest.String()] {
							copied[i.Digest.String()] = true
							bytes += i.Bytes
						}
					}
					assert.Len(t, copied, len(r.Plan.Copies))
					assert.Equal(t, r.BytesCopied, bytes)
					snapshots = append(snapshots, dst.Snapshot(dst.Repo))
				}
				assert.Equal(t, snapshots[0], snapshots[1])
				assert.Equal(t, snapshots[0], snapshots[2])
			})
		}
	}
}

// TestStripOfStrip copies a stripped list on with the same selection: nothing is left to strip.
func TestStripOfStrip(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.WithAttestations()
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/s390x"),
		SparseManifestListAction: copy.StripSparseManifestList,
	}
	origin, one, two := copytest.Places["registry"](t), copytest.Places["layout"](t), copytest.Places["registry"](t)
	origin.Push(f, "v1", imagetest.Top)
	_, err := e.Image(t.Context(), one.Ref("v1"), origin.Ref("v1"), o)
	require.NoError(t, err)
	_, err = e.Image(t.Context(), two.Ref("v1"), one.Ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, one.Top("v1"), two.Top("v1"))
}

// TestCheckBlobs looks at every blob, repairs what is lacking, and writes nothing if nothing is.
func TestCheckBlobs(t *testing.T) {
	for name, o := range map[string]copy.Options{"all": {ImageListSelection: copy.CopyAllImages}, "single": {}} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.Platforms(2, 2, 100)
			src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
			src.Push(f, "v1", imagetest.Top)
			o.CheckBlobs = true
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			dst.ResetLog()
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.False(t, r.Written)
			assert.Equal(t, copy.CheckedBlobs, r.Checked)
			assert.Equal(t, copy.Present, r.Instances[0].Outcome)
			assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")))

			require.True(t, dst.DeleteBlob(dst.Repo, f.Digest("amd64.1")))
			r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.Equal(t, 1, r.BlobsCopied)
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Late: []string{"amd64.1"}})
		})
	}
}

// TestSkipMissingSettles finds out that nothing is left to do although something is missing at the
// source.
func TestSkipMissingSettles(t *testing.T) {
	for _, action := range []copy.SparseManifestListAction{copy.KeepSparseManifestList, copy.StripSparseManifestList, copy.AutoSparseManifestList} {
		t.Run(action.String(), func(t *testing.T) {
			e := copytest.NewEnv(t)
			f := imagetest.Platforms(3, 1, 100)
			src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t)
			src.Push(f, "v1", imagetest.Top, "arm64")
			o := copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, SparseManifestListAction: action}
			for i := range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, i == 0, r.Written)
			}
		})
	}
}

// TestLayerHereAndElsewhere copies a layer that one descriptor gives URLs for and another does not.
func TestLayerHereAndElsewhere(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.New()
	f.Layer("layer")
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("layer"))
	b, mediaType := f.Document("amd64")
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	layer := m["layers"].([]any)[0].(map[string]any)
	elsewhere := maps.Clone(layer)
	elsewhere["urls"] = []string{"http://127.0.0.1:1/layer"}
	m["layers"] = []any{layer, elsewhere}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	src, dst := copytest.Places["registry"](t).(copytest.RegistryPlace), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "", "amd64")
	src.PutManifest(src.Repo, "v1", mediaType, b)
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{})
	require.NoError(t, err)
	_, ok := dst.Blob(dst.Repo, f.Digest("layer"))
	assert.True(t, ok)
}

// TestSizesThatDisagree refuses two manifests that state different sizes for one blob, whichever
// comes first.
func TestSizesThatDisagree(t *testing.T) {
	for _, first := range []string{"true", "false"} {
		e := copytest.NewEnv(t)
		f := imagetest.New()
		f.Layer("layer")
		f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("layer"))
		b, mediaType := f.Document("amd64")
		size := fmt.Sprintf(`"size":%d`, f.Size("layer"))
		require.Contains(t, string(b), size)
		f.Raw("liar", mediaType, []byte(strings.Replace(string(b), size, `"size":7`, 1)), "layer", "amd64.config")
		names := []string{"amd64", "liar"}
		if first == "false" {
			slices.Reverse(names)
		}
		f.List("list", imagetest.Entries(names...))
		src, dst := copytest.Places["registry"](t), copytest.Places["registry"](t).(copytest.RegistryPlace)
		src.Push(f, "v1", "list")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		var at *copy.Error
		require.ErrorAs(t, err, &at, "the %s size first", first)
		assert.Equal(t, copy.SourceSide, at.Side)
		assert.Empty(t, dst.Snapshot(dst.Repo))
	}
}

// TestPreparedUnreachable tells a destination that does not answer from one that has changed.
func TestPreparedUnreachable(t *testing.T) {
	e := copytest.NewEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := copytest.Places["registry"](t)
	src.Push(f, "v1", imagetest.Top)
	refuse := false
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodHead, registrytest.KindManifest), func(int, *http.Request) registrytest.Answer {
			if refuse {
				return registrytest.Fail(403, "DENIED", "no")
			}
			return registrytest.Answer{}
		}),
	}), "app")
	dst.Push(f, "v1", "amd64")
	prepared, err := e.Copier(copy.Options{}).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(copy.Options{
		ImageListSelection: copy.CopyAllImages, CompareDestination: true,
	}))
	require.NoError(t, err)
	refuse = true
	_, err = prepared.Execute(t.Context())
	require.NoError(t, err, "a question that is refused never fails the copy")
	require.NoError(t, prepared.Close())
}
