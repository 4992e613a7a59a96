package copy

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// uploadHabits are habits that concern uploads and tags.
var uploadHabits = []habit{
	{"harbor-immutable-tag", func(t *testing.T) { immutableTags(t, registrytest.HarborTagImmutable) }},
	{"ecr-immutable-tag", func(t *testing.T) { immutableTags(t, registrytest.TagImmutable) }},
	{"403-for-an-immutable-tag", func(t *testing.T) { immutableTags(t, registrytest.Denied) }},
	{"409-for-an-immutable-tag", func(t *testing.T) {
		immutableTags(t, func(registrytest.ListPut) registrytest.Answer {
			return registrytest.Fail(http.StatusConflict, "CONFLICT", "the tag exists")
		})
	}},
	{"immutable-tag-and-a-lost-answer", lostAnswerToATag},
	{"distribution-pinned-list-that-lost-a-child", pinnedList},
}

// putsOf is the number of PUTs of a tag.
func (p registryPlace) putsOf(tag string) int {
	return p.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodPut && q.Kind == registrytest.KindManifest && q.Ref == tag
	})
}

// immutableTags: a registry refuses to write a tag that is there, whatever it is to name. What changes below the tag gets there all the same, and
// what does not change is not written.
func immutableTags(t *testing.T, refusal registrytest.ListPolicy) {
	immutable := registrytest.Options{PutAgain: refusal}
	for name, c := range map[string]struct {
		f             *imagetest.Fixture
		narrow, wide  []string
		present, late []string
	}{
		"a list":        {imagetest.Platforms(4, 2, 100), []string{"linux/amd64"}, []string{"linux/amd64", "linux/arm64"}, []string{"amd64"}, []string{"arm64"}},
		"a Docker list": {imagetest.DockerList(), []string{"linux/amd64"}, []string{"linux/amd64", "linux/s390x"}, []string{"amd64"}, []string{"s390x"}},
		"nested lists":  {imagetest.Nested(), []string{"linux/arm64"}, []string{"linux/arm64", "linux/arm/v6"}, []string{"arm64"}, []string{"innermost", "arm/v6"}},
	} {
		e, src := newEnv(t), places["registry"](t).(registryPlace)
		src.push(c.f, "v1", imagetest.Top)
		dst := registryPlace{t, registrytest.Start(t, immutable), "app"}
		for i, filters := range [][]string{c.narrow, c.wide, c.wide} {
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
				ImageListSelection: CopySpecificImages, InstancePlatforms: platforms(filters...), SparseManifestListAction: AutoSparseManifestList,
			})
			require.NoError(t, err, name)
			assert.Equal(t, c.f.Digest(imagetest.Top), r.DestinationDigest, name)
			assert.Equal(t, i == 0, r.Written, name)
			assert.Equal(t, i == 2, r.ManifestsCopied == 0, name)
		}
		assert.Equal(t, 1, dst.putsOf("v1"), name)
		var absent []string
		for _, d := range c.f.Manifests(imagetest.Top) {
			if _, _, ok := dst.Manifest("app", d.String()); !ok {
				absent = append(absent, d.String())
			}
		}
		dst.check(imagetest.Want{
			Tag: "v1", Digest: c.f.Digest(imagetest.Top), Fixture: c.f, Present: append(c.present, c.late...), Late: c.late, Absent: absent,
		})
	}
	immutableUnderneath(t, immutable)
	immutableAndPrepared(t, immutable)
}

// immutableUnderneath: a blob of an image, and what is attached to it, come back to an immutable tag.
func immutableUnderneath(t *testing.T, immutable registrytest.Options) {
	f := attachedFixture()
	e, src := newEnv(t), registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	pushAttached(t, f, src, true)
	for name, tag := range map[string]string{"an image": "single", "a list": "v1"} {
		src.push(f, "single", "amd64")
		for _, api := range []bool{true, false} {
			immutable.NoReferrers = !api
			dst := registryPlace{t, registrytest.Start(t, immutable), "app"}
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref(tag), Options{ImageListSelection: CopyAllImages})
			require.NoError(t, err, name)
			layer := f.Digest("amd64.0")
			require.True(t, dst.DeleteBlob("app", layer))
			o := followers()
			o.CheckBlobs = true
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref(tag), o)
			require.NoError(t, err, name)
			assert.Equal(t, CheckedBlobs, r.Checked)
			assert.Equal(t, 1, dst.putsOf("v1"), name)
			_, there := dst.Content("app", layer)
			assert.True(t, there, name)
			assert.Equal(t, f.Digests("sbom-amd64"), referrersAt(t, e, dst, f.Digest("amd64")), name)

			// Nothing is left to do, and no tag of what is attached is written again.
			before := dst.Snapshot("app")
			puts := dst.Count(registrytest.Is(http.MethodPut, registrytest.KindManifest))
			r, err = e.image(t.Context(), dst.ref("v1"), src.ref(tag), followers())
			require.NoError(t, err, name)
			assert.False(t, r.Written)
			assert.Equal(t, before, dst.Snapshot("app"), name)
			assert.Equal(t, puts, dst.Count(registrytest.Is(http.MethodPut, registrytest.KindManifest)), name)
		}
	}
}

// immutableAndPrepared: a copy that was planned without looking at the destination finds out when it is refused.
func immutableAndPrepared(t *testing.T, immutable registrytest.Options) {
	f := imagetest.Platforms(3, 1, 100)
	e, src := newEnv(t), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top)
	src.push(f, "single", "amd64")
	for _, tag := range []string{"v1", "single"} {
		dst := registryPlace{t, registrytest.Start(t, immutable), "app"}
		var top digest.Digest
		for range 2 {
			prepared, err := Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref(tag), e.options(auto("linux/amd64")))
			require.NoError(t, err)
			r, err := prepared.Execute(t.Context())
			require.NoError(t, err, tag)
			require.NoError(t, prepared.Close())
			assert.True(t, top == "" || !r.Written)
			top = r.DestinationDigest
		}
		assert.Equal(t, top, dst.top("v1"))
		// Something else is not written over it.
		src.push(imagetest.Platforms(2, 1, 50), tag, imagetest.Top)
		prepared, err := Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref(tag), e.options(auto("linux/amd64")))
		require.NoError(t, err)
		_, err = prepared.Execute(t.Context())
		require.Error(t, err)
		require.NoError(t, prepared.Close())
		assert.Equal(t, top, dst.top("v1"))
	}
}

// lostAnswerToATag: the answer to the PUT of an immutable tag is lost, and the next attempt is refused. It was stored.
func lostAnswerToATag(t *testing.T) {
	f := attachedFixture()
	e, src := newEnv(t), registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app"}
	pushAttached(t, f, src, false)
	byTag := func(q *http.Request) bool {
		return q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") && !strings.Contains(q.URL.Path, "sha256:")
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{
		NoReferrers: true, PutAgain: registrytest.HarborTagImmutable,
		Script: func(_ int, q *http.Request) registrytest.Answer {
			mu.Lock()
			defer mu.Unlock()
			if !byTag(q) || seen[q.URL.Path] {
				return registrytest.Answer{}
			}
			seen[q.URL.Path] = true
			return registrytest.LostAnswer()
		},
	}), "app"}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), followers())
	require.NoError(t, err)
	assert.Greater(t, len(seen), 4, "the tag of the list, those of referrers, and digest tags")
	dst.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.Equal(t, f.Digests("sbom-amd64"), referrersAt(t, e, dst, f.Digest("amd64")))
}

// pinnedList: distribution has lost children of a list that a tag names. A copy that adds one of them does not move the tag because of the other.
func pinnedList(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	e, src := newEnv(t), places["registry"](t).(registryPlace)
	src.push(f, "v1", imagetest.Top)
	for _, prepare := range []bool{false, true} {
		dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: true}), "app"}
		dst.push(f, "v1", imagetest.Top)
		require.True(t, dst.DeleteManifest("app", f.Digest("arm64")))
		require.True(t, dst.DeleteManifest("app", f.Digest("ppc64le")))
		o := auto("linux/amd64", "linux/arm64")
		if prepare {
			p, err := Prepare(t.Context(), e.policy, dst.ref("v1"), src.ref("v1"), e.options(o))
			require.NoError(t, err)
			_, err = p.Execute(t.Context())
			require.NoError(t, err)
			require.NoError(t, p.Close())
		} else {
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			assert.Equal(t, KeepSparseManifestList, r.Action)
			assert.False(t, r.Written)
			assert.Empty(t, r.Refusal)
		}
		dst.check(imagetest.Want{
			Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64", "arm/v7"}, Optional: []string{"ppc64le"}, Late: []string{"arm64"},
		})

		// A tag that names something else gets what the registry takes.
		dst.DeleteTag("app", "v1")
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, StripSparseManifestList, r.Action)
	}
}
