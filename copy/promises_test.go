package copy

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
)

// TestAutoWithoutStrip gives both reasons when the registry refuses the sparse list and the list must not change.
func TestAutoWithoutStrip(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src := places["registry"](t)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	src.push(f, "v1", imagetest.Top)
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"),
		SparseManifestListAction: AutoSparseManifestList, PreserveDigests: true,
	})
	var refused *SparseRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Contains(t, refused.NotStripped, "PreserveDigests")
	var registry *RegistryError
	require.ErrorAs(t, err, &registry)
	assert.ElementsMatch(t, f.Digests("arm64", "arm/v7"), refused.Absent)
	assert.Empty(t, dst.top("v1"))
}

// TestLostChild pushes a child again that the registry has lost between its manifest and the list.
func TestLostChild(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	for name, action := range map[string]SparseManifestListAction{"keep": KeepSparseManifestList, "auto": AutoSparseManifestList} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src := places["registry"](t)
			src.push(f, "v1", imagetest.Top)
			var dst registryPlace
			lose := registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindManifest), func(n int, _ *http.Request) registrytest.Answer {
				if n == 3 { // the list, after two children
					dst.DeleteManifest("app", f.Digest("amd64"))
				}
				return registrytest.Answer{}
			})
			// One that tells what is missing of what it requires, and accepts what is sparse otherwise.
			dst = registryPlace{t, registrytest.Start(t, registrytest.Options{
				Script: lose, ListPolicy: registrytest.RequireArchitectures("amd64", "arm64"),
			}), "app"}
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
				ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
				SparseManifestListAction: action,
			})
			require.NoError(t, err)
			assert.Equal(t, KeepSparseManifestList, r.Action, "what was lost is no reason to strip")
			dst.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64"}, Absent: []string{"arm/v7"}})
		})
	}
}

// TestSingleImagePlatform checks a single image by its config.
func TestSingleImagePlatform(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src, dst := places["registry"](t), places["registry"](t).(registryPlace)
	src.push(f, "v1", "arm64")
	filter := func(filters ...string) Options {
		return Options{ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...)}
	}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), filter("linux/amd64"))
	var none *NoMatchError
	require.ErrorAs(t, err, &none)
	assert.Equal(t, []string{"linux/arm64"}, none.Offered)
	assert.Empty(t, dst.Snapshot(dst.repo))

	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{RequiredPlatforms: platforms("linux/amd64")})
	var required *RequiredError
	require.ErrorAs(t, err, &required)

	for _, o := range []Options{filter("linux/amd64", "linux/arm64"), filter("!windows/*"), {RequiredPlatforms: platforms("linux/arm64")}} {
		_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, f.Digest("arm64"), dst.top("v1"))
	}
}

// TestRequiredMissing fails before anything is written.
func TestRequiredMissing(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(3, 1, 100)
	src, dst := places["registry"](t), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top, "arm64")
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, RequiredPlatforms: platforms("linux/amd64", "linux/arm64"),
	})
	var required *RequiredError
	require.ErrorAs(t, err, &required)
	assert.Equal(t, []RequiredPlatform{{Platform: "linux/arm64", Digest: f.Digest("arm64"), Reason: "missing at the source"}}, required.Failed)
	assert.Equal(t, []string{"linux/amd64", "linux/arm64"}, required.Required)
	assert.Empty(t, dst.Snapshot(dst.repo))
}

// TestMirrorOfAMirror copies a kept sparse list on, with only what is there, to a registry that accepts it and to one that does not.
func TestMirrorOfAMirror(t *testing.T) {
	e := newEnv(t)
	f := imagetest.WithAttestations()
	origin, mirror := places["registry"](t), places["registry"](t)
	origin.push(f, "v1", imagetest.Top)
	_, err := e.image(t.Context(), mirror.ref("v1"), origin.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64"),
	})
	require.NoError(t, err)
	on := Options{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, SparseManifestListAction: AutoSparseManifestList}

	lax := places["registry"](t)
	r, err := e.image(t.Context(), lax.ref("v1"), mirror.ref("v1"), on)
	require.NoError(t, err)
	absent := []string{"arm64", "s390x", "att-arm64", "att-s390x"}
	lax.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Only: true, Present: []string{"amd64", "att-amd64"}, Absent: absent})
	for _, i := range r.Instances {
		assert.Equal(t, i.Outcome == Skipped, i.Missing, "what is missing is reported apart from what was not selected")
	}

	strict := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
	r, err = e.image(t.Context(), strict.ref("v1"), mirror.ref("v1"), on)
	require.NoError(t, err)
	strict.check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f, Only: true, Present: []string{"amd64", "att-amd64"}, Absent: absent})
}

// TestPrepared plans without touching the destination, and executes exactly that.
func TestPrepared(t *testing.T) {
	e := newEnv(t)
	f, other := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	src, dst := places["registry"](t).(registryPlace), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top)
	o := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: StripSparseManifestList,
	}
	prepared, err := e.copier(o).Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), e.options(o))
	require.NoError(t, err)
	plan := prepared.Plan()
	assert.Empty(t, dst.Requests())
	assert.Equal(t, f.Digests("amd64", "arm64"), plan.Copies)
	assert.Equal(t, 6, plan.Blobs)

	other.PushTo(src.Registry, "app", "v1", "amd64") // the tag moves on
	src.push(other, "v1", "amd64")
	r, err := prepared.Execute(t.Context())
	require.NoError(t, err)
	assert.Equal(t, plan.Digest, r.DestinationDigest)
	dst.check(imagetest.Want{Tag: "v1", Digest: plan.Digest, Fixture: f, Only: true, Present: []string{"amd64", "arm64"}})
	_, err = prepared.Execute(t.Context())
	require.Error(t, err, "once")
	require.NoError(t, prepared.Close())
}

// TestPreparedAgainstDestination refuses to execute when the destination is no longer what was planned for.
func TestPreparedAgainstDestination(t *testing.T) {
	e := newEnv(t)
	f, other := imagetest.Platforms(3, 2, 100), imagetest.Platforms(1, 1, 50)
	src, dst := places["registry"](t), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top)
	dst.push(f, "v1", "arm64")
	prepared, err := e.copier(Options{}).Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), e.options(Options{
		ImageListSelection: CopyAllImages, CompareDestination: true,
	}))
	require.NoError(t, err)
	defer func() { require.NoError(t, prepared.Close()) }()
	assert.Equal(t, f.Digests("amd64", "arm/v7"), prepared.Plan().Copies, "one is there")

	dst.push(other, "v1", "amd64")
	before := dst.Snapshot(dst.repo)
	_, err = prepared.Execute(t.Context())
	var changed *ChangedError
	require.ErrorAs(t, err, &changed)
	assert.Equal(t, f.Digest("arm64"), changed.Planned)
	assert.Equal(t, other.Digest("amd64"), changed.Found)
	assert.Equal(t, before, dst.Snapshot(dst.repo))
}

// TestPlanEqualsReport holds the report of a copy to its plan, and copies with different numbers in flight to each other.
func TestPlanEqualsReport(t *testing.T) {
	for name, f := range map[string]*imagetest.Fixture{
		"platforms": imagetest.Platforms(4, 2, 100, imagetest.SharedBase()), "nested": imagetest.Nested(),
		"attestations": imagetest.WithAttestations(), "equal digests": imagetest.EqualDigests(),
	} {
		for _, action := range []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList} {
			t.Run(name+"/"+action.String(), func(t *testing.T) {
				e := newEnv(t)
				src := places["registry"](t)
				src.push(f, "v1", imagetest.Top)
				var snapshots []string
				for _, parallel := range []uint{1, 2, 64} {
					dst := places["registry"](t).(registryPlace)
					r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
						ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
						SparseManifestListAction: action, MaxParallelDownloads: parallel,
					})
					require.NoError(t, err)
					assert.Equal(t, r.Plan.Digest, r.DestinationDigest)
					assert.Equal(t, r.Plan.Digest, dst.top("v1"))
					assert.Equal(t, r.Plan.Blobs, r.BlobsCopied)
					assert.Equal(t, r.Plan.Bytes, r.BytesCopied)
					copied := map[string]bool{}
					var bytes int64
					for _, i := range r.Instances {
						if i.Outcome == Copied && !i.Nested && !copied[i.Digest.String()] {
							copied[i.Digest.String()] = true
							bytes += i.Bytes
						}
					}
					assert.Len(t, copied, len(r.Plan.Copies))
					assert.Equal(t, r.BytesCopied, bytes)
					snapshots = append(snapshots, dst.Snapshot(dst.repo))
				}
				assert.Equal(t, snapshots[0], snapshots[1])
				assert.Equal(t, snapshots[0], snapshots[2])
			})
		}
	}
}

// TestStripOfStrip copies a stripped list on with the same selection: nothing is left to strip.
func TestStripOfStrip(t *testing.T) {
	e := newEnv(t)
	f := imagetest.WithAttestations()
	o := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/s390x"),
		SparseManifestListAction: StripSparseManifestList,
	}
	origin, one, two := places["registry"](t), places["layout"](t), places["registry"](t)
	origin.push(f, "v1", imagetest.Top)
	_, err := e.image(t.Context(), one.ref("v1"), origin.ref("v1"), o)
	require.NoError(t, err)
	_, err = e.image(t.Context(), two.ref("v1"), one.ref("v1"), o)
	require.NoError(t, err)
	assert.Equal(t, one.top("v1"), two.top("v1"))
}

// TestCheckBlobs looks at every blob, repairs what is lacking, and writes nothing if nothing is.
func TestCheckBlobs(t *testing.T) {
	for name, o := range map[string]Options{"all": {ImageListSelection: CopyAllImages}, "single": {}} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			f := imagetest.Platforms(2, 2, 100)
			src, dst := places["registry"](t), places["registry"](t).(registryPlace)
			src.push(f, "v1", imagetest.Top)
			o.CheckBlobs = true
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			dst.ResetLog()
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			assert.False(t, r.Written)
			assert.Equal(t, CheckedBlobs, r.Checked)
			assert.Equal(t, Present, r.Instances[0].Outcome)
			assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")))

			require.True(t, dst.DeleteBlob(dst.repo, f.Digest("amd64.1")))
			r, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			assert.Equal(t, 1, r.BlobsCopied)
			dst.check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Late: []string{"amd64.1"}})
		})
	}
}

// TestSkipMissingSettles finds out that nothing is left to do although something is missing at the source.
func TestSkipMissingSettles(t *testing.T) {
	for _, action := range []SparseManifestListAction{KeepSparseManifestList, StripSparseManifestList, AutoSparseManifestList} {
		t.Run(action.String(), func(t *testing.T) {
			e := newEnv(t)
			f := imagetest.Platforms(3, 1, 100)
			src, dst := places["registry"](t), places["registry"](t)
			src.push(f, "v1", imagetest.Top, "arm64")
			o := Options{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, SparseManifestListAction: action}
			for i := range 2 {
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, i == 0, r.Written)
			}
		})
	}
}

// TestLayerHereAndElsewhere copies a layer that one descriptor gives URLs for and another does not.
func TestLayerHereAndElsewhere(t *testing.T) {
	e := newEnv(t)
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
	src, dst := places["registry"](t).(registryPlace), places["registry"](t).(registryPlace)
	src.push(f, "", "amd64")
	src.PutManifest(src.repo, "v1", mediaType, b)
	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{})
	require.NoError(t, err)
	_, ok := dst.Blob(dst.repo, f.Digest("layer"))
	assert.True(t, ok)
}

// TestSizesThatDisagree refuses two manifests that state different sizes for one blob, whichever comes first.
func TestSizesThatDisagree(t *testing.T) {
	for _, first := range []string{"true", "false"} {
		e := newEnv(t)
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
		src, dst := places["registry"](t), places["registry"](t).(registryPlace)
		src.push(f, "v1", "list")
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
		var at *Error
		require.ErrorAs(t, err, &at, "the %s size first", first)
		assert.Equal(t, SourceSide, at.Side)
		assert.Empty(t, dst.Snapshot(dst.repo))
	}
}

// TestPreparedUnreachable tells a destination that does not answer from one that has changed.
func TestPreparedUnreachable(t *testing.T) {
	e := newEnv(t)
	f := imagetest.Platforms(2, 1, 100)
	src := places["registry"](t)
	src.push(f, "v1", imagetest.Top)
	refuse := false
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodHead, registrytest.KindManifest), func(int, *http.Request) registrytest.Answer {
			if refuse {
				return registrytest.Fail(403, "DENIED", "no")
			}
			return registrytest.Answer{}
		}),
	}), "app"}
	dst.push(f, "v1", "amd64")
	prepared, err := e.copier(Options{}).Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), e.options(Options{
		ImageListSelection: CopyAllImages, CompareDestination: true,
	}))
	require.NoError(t, err)
	refuse = true
	_, err = prepared.Execute(t.Context())
	require.NoError(t, err, "a question that is refused never fails the copy")
	require.NoError(t, prepared.Close())
}
