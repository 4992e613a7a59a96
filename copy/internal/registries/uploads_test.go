package registries

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
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
	{"artifactory-patch-only", patchOnly},
	{"content-in-a-put-refused-otherwise", patchOnlyOtherwise},
	{"chunks-dropped", droppedChunks},
	{"chunks-416", func(t *testing.T) {
		chunked(t, 400<<10, 1+3, func(q *http.Request) registrytest.Answer {
			if q.ContentLength <= 300<<10 {
				return registrytest.Answer{}
			}
			return registrytest.Fail(http.StatusRequestedRangeNotSatisfiable, "", "too long")
		})
	}},
	{"cloudflare-413", longBodies},
	{"uploads-that-move", movingUploads},
	{"uploads-that-end-with-202", func(t *testing.T) {
		for _, status := range []int{200, 202, 204} {
			uploaded(t, registrytest.Options{UploadStatus: status})
		}
	}},
	{"uploads-that-get-lost", lostUploads},
	{"mount-that-fails", failingMounts},
	{"mount-of-nothing", func(t *testing.T) { mounted(t, registrytest.Options{PhantomMounts: true}, nil) }},
	{"blob-that-is-there-and-unknown", phantomBlobs},
	{"head-with-another-length", lengthsOfHEAD},
	{"nexus-commit-race", commitRace},
}

// immutableTags: a registry refuses to write a tag that is there, whatever it is to name. What
// changes below the tag gets there all the same, and what does not change is not written.
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
		e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
		src.Push(c.f, "v1", imagetest.Top)
		dst := copytest.RegistryAt(t, registrytest.Start(t, immutable), "app")
		for i, filters := range [][]string{c.narrow, c.wide, c.wide} {
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms(filters...), SparseManifestListAction: copy.AutoSparseManifestList,
			})
			require.NoError(t, err, name)
			assert.Equal(t, c.f.Digest(imagetest.Top), r.DestinationDigest, name)
			assert.Equal(t, i == 0, r.Written, name)
			assert.Equal(t, i == 2, r.ManifestsCopied == 0, name)
		}
		assert.Equal(t, 1, dst.PutsOf("v1"), name)
		var absent []string
		for _, d := range c.f.Manifests(imagetest.Top) {
			if _, _, ok := dst.Manifest("app", d.String()); !ok {
				absent = append(absent, d.String())
			}
		}
		dst.Check(imagetest.Want{
			Tag: "v1", Digest: c.f.Digest(imagetest.Top), Fixture: c.f, Present: append(c.present, c.late...), Late: c.late, Absent: absent,
		})
	}
	immutableUnderneath(t, immutable)
	immutableAndPrepared(t, immutable)
}

// immutableUnderneath: a blob of an image, and what is attached to it, come back to an immutable
// tag.
func immutableUnderneath(t *testing.T, immutable registrytest.Options) {
	f := attachedFixture()
	e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	pushAttached(f, src)
	for name, tag := range map[string]string{"an image": "single", "a list": "v1"} {
		src.Push(f, "single", "amd64")
		for _, api := range []bool{true, false} {
			immutable.NoReferrers = !api
			dst := copytest.RegistryAt(t, registrytest.Start(t, immutable), "app")
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), copy.Options{ImageListSelection: copy.CopyAllImages})
			require.NoError(t, err, name)
			layer := f.Digest("amd64.0")
			require.True(t, dst.DeleteBlob("app", layer))
			o := copytest.Followers()
			o.CheckBlobs = true
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), o)
			require.NoError(t, err, name)
			assert.Equal(t, copy.CheckedBlobs, r.Checked)
			assert.Equal(t, 1, dst.PutsOf("v1"), name)
			_, there := dst.Content("app", layer)
			assert.True(t, there, name)
			assert.Equal(t, f.Digests("sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), name)

			// Nothing is left to do, and no tag of what is attached is written again.
			before := dst.Snapshot("app")
			puts := dst.Count(registrytest.Is(http.MethodPut, registrytest.KindManifest))
			r, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref(tag), copytest.Followers())
			require.NoError(t, err, name)
			assert.False(t, r.Written)
			assert.Equal(t, before, dst.Snapshot("app"), name)
			assert.Equal(t, puts, dst.Count(registrytest.Is(http.MethodPut, registrytest.KindManifest)), name)
		}
	}
}

// immutableAndPrepared: a copy that was planned without looking at the destination finds out when
// it is refused.
func immutableAndPrepared(t *testing.T, immutable registrytest.Options) {
	f := attachedFixture()
	e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	pushAttached(f, src)
	src.Push(f, "single", "amd64")
	for _, tag := range []string{"v1", "single"} {
		for _, attached := range []bool{false, true} {
			o := copytest.Auto("linux/amd64")
			if attached {
				o.Referrers = copy.AllReferrers
			}
			dst := copytest.RegistryAt(t, registrytest.Start(t, immutable), "app")
			copied := func() (*copy.Report, error) {
				prepared, err := e.Copier(o).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref(tag), e.Options(o))
				require.NoError(t, err)
				defer func() { assert.NoError(t, prepared.Close()) }()
				return prepared.Execute(t.Context())
			}
			for i := range 2 {
				r, err := copied()
				require.NoError(t, err, "%s, attached %t", tag, attached)
				assert.Equal(t, i == 0, r.Written)
				assert.Equal(t, dst.Top("v1"), r.DestinationDigest)
			}
			// Something else is not written over it.
			top := dst.Top("v1")
			src.Push(imagetest.Platforms(2, 1, 50), tag, imagetest.Top)
			_, err := copied()
			require.Error(t, err)
			assert.Equal(t, top, dst.Top("v1"))
			src.Push(f, "v1", imagetest.Top)
			src.Push(f, "single", "amd64")
		}
	}
}

// lostAnswerToATag: the answer to the PUT of an immutable tag is lost, and the next attempt is
// refused. It was stored.
func lostAnswerToATag(t *testing.T) {
	f := copytest.AttachedFixture()
	e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	copytest.PushAttached(t, f, src, false)
	byTag := func(q *http.Request) bool {
		return q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") && !strings.Contains(q.URL.Path, "sha256:")
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
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
	}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	assert.Greater(t, len(seen), 4, "the tag of the list, those of referrers, and digest tags")
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.Equal(t, f.Digests("sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
}

// pinnedList: distribution has lost children of a list that a tag names. A copy that adds one of
// them does not move the tag because of the other.
func pinnedList(t *testing.T) {
	f := imagetest.Platforms(4, 1, 100)
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	for _, prepare := range []bool{false, true} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
		dst.Push(f, "v1", imagetest.Top)
		require.True(t, dst.DeleteManifest("app", f.Digest("arm64")))
		require.True(t, dst.DeleteManifest("app", f.Digest("ppc64le")))
		o := copytest.Auto("linux/amd64", "linux/arm64")
		if prepare {
			p, err := e.Copier(o).Prepare(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), e.Options(o))
			require.NoError(t, err)
			_, err = p.Execute(t.Context())
			require.NoError(t, err)
			require.NoError(t, p.Close())
		} else {
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.Equal(t, copy.KeepSparseManifestList, r.Action)
			assert.False(t, r.Written)
			assert.Empty(t, r.Refusal)
		}
		dst.Check(imagetest.Want{
			Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm64", "arm/v7"}, Optional: []string{"ppc64le"}, Late: []string{"arm64"},
		})

		// A tag that names something else gets what the registry takes.
		dst.DeleteTag("app", "v1")
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, copy.StripSparseManifestList, r.Action)
	}
}

// attachedFixture is a list of two images, one of which has an SBOM, and a signature at a digest
// tag.
func attachedFixture() *imagetest.Fixture {
	f := imagetest.Platforms(2, 1, 100)
	f.Blob("sbom of amd64", copytest.SbomType, []byte(`{"of":"amd64"}`))
	f.Artifact("sbom-amd64", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("sbom of amd64"))
	f.Blob("cosign of amd64", copytest.SignatureType, []byte("cosigned amd64"))
	f.Artifact("cosign-amd64", imagetest.Layers("cosign of amd64"))
	return f
}

// pushAttached pushes attachedFixture with everything attached.
func pushAttached(f *imagetest.Fixture, p copytest.RegistryPlace) {
	p.Push(f, "v1", imagetest.Top)
	p.Push(f, "", "sbom-amd64")
	p.Push(f, copytest.DigestTag(f.Digest("amd64"), ".sig"), "cosign-amd64")
}

// uploadedFixture is attachedFixture with another SBOM, of 700 kB.
func uploadedFixture() *imagetest.Fixture {
	f := attachedFixture()
	f.Layer("large", imagetest.Random(7, 700_000))
	f.Artifact("sbom-large", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("large"))
	return f
}

// uploaded copies a list with all that is attached to it to a registry that answers to uploads in
// its own way, and again, and checks what is there.
func uploaded(t *testing.T, answers registrytest.Options) copytest.RegistryPlace {
	t.Helper()
	f := uploadedFixture()
	e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	if answers.Auth != nil {
		e.Sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "u", Password: "p"}
	}
	pushAttached(f, src)
	src.Push(f, "", "sbom-large")
	dst := copytest.RegistryAt(t, registrytest.Start(t, answers), "app")
	o := copytest.Followers()
	for i := range 2 {
		o.CheckBlobs = i == 1
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Equal(t, i == 0, r.Written)
		assert.True(t, i == 0 || r.BlobsCopied == 0 || answers.IgnoreMounts)
	}
	checkUploaded(t, e, f, dst)
	return dst
}

// checkUploaded checks that a registry has uploadedFixture.
func checkUploaded(t *testing.T, e *copytest.Env, f *imagetest.Fixture, dst copytest.RegistryPlace) {
	t.Helper()
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.ElementsMatch(t, f.Digests("sbom-amd64", "sbom-large"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
	d, ok := dst.Resolve("app", copytest.DigestTag(f.Digest("amd64"), ".sig"))
	assert.True(t, ok)
	assert.Equal(t, f.Digest("cosign-amd64"), d)
	b, ok := dst.Blob("app", f.Digest("large"))
	assert.True(t, ok)
	assert.Equal(t, f.Digest("large"), digest.FromBytes(b))
}

// notLarge is more than the blobs of uploadedFixture have, but for the large one.
const notLarge = 100_000

// bringsContent reports whether a request is a PUT of an upload that has a body.
func bringsContent(q *http.Request) bool {
	return q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/blobs/uploads/") && q.ContentLength != 0
}

// patchOnly: a registry takes content by PATCH only. That is found out, and not forgotten: a second
// image is sent so at once.
func patchOnly(t *testing.T) {
	for name, o := range map[string]registrytest.Options{
		"absolute locations":   {PatchOnly: true},
		"relative locations":   {PatchOnly: true, Location: registrytest.LocationRelative},
		"another host":         {PatchOnly: true, Location: registrytest.LocationSecond},
		"locations that move":  {PatchOnly: true, MovingUploads: true},
		"no mounts":            {PatchOnly: true, IgnoreMounts: true},
		"a proxy before it":    {PatchOnly: true, MaxBody: 300 << 10},
		"other success":        {PatchOnly: true, UploadStatus: http.StatusNoContent},
		"nothing but statuses": {PatchOnly: true, BareSuccess: true},
	} {
		t.Run(name, func(t *testing.T) { uploaded(t, o) })
	}
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	one, two := imagetest.Platforms(2, 2, 100), imagetest.Platforms(2, 3, 120)
	src.Push(one, "one", imagetest.Top)
	src.Push(two, "two", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{PatchOnly: true}), "app")
	c := e.Copier(copy.Options{})
	for _, tag := range []string{"one", "two"} {
		dst.ResetLog()
		_, err := e.ImageWith(t.Context(), c, dst.Ref(tag), src.Ref(tag), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
	}
	assert.Zero(t, dst.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodPut && q.Kind == registrytest.KindUpload && q.Status != http.StatusCreated
	}), "it is known by now")
	dst.Check(imagetest.Want{Tag: "two", Digest: two.Digest(imagetest.Top), Fixture: two})
}

// patchOnlyOtherwise: other answers of registries that want a PATCH.
func patchOnlyOtherwise(t *testing.T) {
	for name, answer := range map[string]registrytest.Answer{
		"400":                registrytest.Fail(400, "BLOB_UPLOAD_INVALID", "no content expected"),
		"404":                registrytest.Fail(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown"),
		"404 with a page":    registrytest.FailHTML(404),
		"405":                registrytest.Fail(405, "UNSUPPORTED", "no"),
		"411":                registrytest.FailHTML(411),
		"415":                registrytest.FailHTML(415),
		"422":                registrytest.Fail(422, "", "no"),
		"501":                registrytest.FailHTML(501),
		"the body is unread": {},
	} {
		t.Run(name, func(t *testing.T) {
			uploaded(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
				if !bringsContent(q) {
					return registrytest.Answer{}
				}
				if answer.Status == 0 {
					q.Body, q.ContentLength = http.NoBody, 0
				}
				return answer
			}})
		})
	}
	// What nobody takes in any way is an error with what was answered to both.
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(imagetest.Platforms(2, 1, 100), "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: func(_ int, q *http.Request) registrytest.Answer {
		if q.Method == http.MethodPatch || bringsContent(q) {
			return registrytest.Fail(http.StatusBadRequest, "SIZE_INVALID", "too much by "+q.Method)
		}
		return registrytest.Answer{}
	}}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.ErrorContains(t, err, "too much by PUT")
	require.ErrorContains(t, err, "too much by PATCH")
	assert.Empty(t, dst.Top("v1"))
}

// chunked copies an image with one blob of 700 kB in chunks to a registry that answers to PATCH in
// its own way, but for the zero Answer, and checks that it gets there after so many.
func chunked(t *testing.T, size uint64, chunks int, answer func(*http.Request) registrytest.Answer) {
	t.Helper()
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	f := imagetest.Platforms(1, 1, 700_000)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
		Script: registrytest.Only(registrytest.Matching(http.MethodPatch, ""), func(_ int, q *http.Request) registrytest.Answer {
			a := answer(q)
			if a.Status != 0 {
				_, _ = io.Copy(io.Discard, q.Body)
			}
			return a
		}),
	}), "app")
	c := copytest.NewCopier(t, copy.CopierOptions{ChunkSize: size, Retries: quick})
	_, err := e.ImageWith(t.Context(), c, dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	assert.Equal(t, chunks, dst.Count(registrytest.Is(http.MethodPatch, "")))
}

// droppedChunks: a registry says in one way or another that it has not kept the first chunk, or
// says nothing, and finds the digest wrong.
func droppedChunks(t *testing.T) {
	for name, c := range map[string]struct {
		answer registrytest.Answer
		chunks int
	}{
		"none is dropped":      {registrytest.Answer{}, 3},
		"201":                  {registrytest.Answer{Status: http.StatusCreated}, 1},
		"the range stays":      {registrytest.Answer{Status: http.StatusAccepted, Header: http.Header{"Range": {"0-0"}}}, 1},
		"the digest is wrong":  {registrytest.Answer{Status: http.StatusAccepted}, 3},
		"the range is a chunk": {registrytest.Answer{Status: http.StatusAccepted, Header: http.Header{"Range": {"bytes=0-9"}}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			chunked(t, 300_000, c.chunks, func(*http.Request) registrytest.Answer { return c.answer })
		})
	}
}

// longBodies: a proxy refuses long bodies, with a page; the content goes in pieces.
func longBodies(t *testing.T) {
	for name, o := range map[string]registrytest.Options{
		"absolute locations":  {MaxBody: 300 << 10},
		"relative locations":  {MaxBody: 300 << 10, Location: registrytest.LocationRelative},
		"another host":        {MaxBody: 300 << 10, Location: registrytest.LocationSecond},
		"locations that move": {MaxBody: 300 << 10, MovingUploads: true},
		"no mounts":           {MaxBody: 300 << 10, IgnoreMounts: true},
	} {
		t.Run(name, func(t *testing.T) {
			dst := uploaded(t, o)
			pieces := dst.Count(func(q registrytest.Request) bool {
				return q.Method == http.MethodPatch && q.Status == http.StatusAccepted
			})
			assert.Equal(t, 3, pieces, "700 kB, and nothing else")
		})
	}
	// Connections that break in a piece, and tokens that end between two, do not matter.
	t.Run("short tokens", func(t *testing.T) {
		uploaded(t, registrytest.Options{MaxBody: 300 << 10, Auth: &registrytest.Auth{
			Bearer: true, TokenRequests: 2, Accounts: []registrytest.Account{{Username: "u", Password: "p"}},
		}})
	})
	for name, answer := range map[string]registrytest.Answer{
		"a closed connection": registrytest.Close(),
		"a cut":               registrytest.CutUpload(1000),
		"503":                 registrytest.FailHTML(503),
		"a redirect":          {Status: 307},
	} {
		t.Run(name, func(t *testing.T) {
			uploaded(t, registrytest.Options{MaxBody: 300 << 10, Script: registrytest.Only(registrytest.Matching(http.MethodPatch, ""),
				func(n int, q *http.Request) registrytest.Answer {
					if n != 2 {
						return registrytest.Answer{}
					}
					if answer.Status == http.StatusTemporaryRedirect {
						answer.Header = http.Header{"Location": {q.URL.RequestURI()}}
					}
					return answer
				})})
		})
	}
	// What is too large in pieces, too, is an error.
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(imagetest.Platforms(2, 1, 700_000), "v1", imagetest.Top)
	for name, o := range map[string]registrytest.Options{
		"in any piece": {MaxBody: 1000},
		"in all": {Script: registrytest.Only(
			func(q *http.Request) bool {
				return q.ContentLength > 300<<10 || strings.HasPrefix(q.Header.Get("Content-Range"), "262144-")
			},
			registrytest.EveryNth(1, registrytest.Fail(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "blobs have 300 kB at most")))},
	} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.ErrorContains(t, err, "413", name)
		assert.Empty(t, dst.Top("v1"), name)
	}
}

// movingUploads: where an upload goes on is what the last answer says.
func movingUploads(t *testing.T) {
	for _, location := range []registrytest.LocationForm{registrytest.LocationAbsolute, registrytest.LocationRelative, registrytest.LocationSecond} {
		uploaded(t, registrytest.Options{Location: location})
		uploaded(t, registrytest.Options{Location: location, MovingUploads: true, MaxBody: 300 << 10})
		uploaded(t, registrytest.Options{Location: location, MovingUploads: true, PatchOnly: true})
	}
}

// lostUploads: an upload gets lost in the middle. The blob is sent again from its start.
func lostUploads(t *testing.T) {
	for name, answer := range map[string]registrytest.Answer{
		"unknown":             registrytest.Fail(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
		"not found":           registrytest.Fail(404, "", "not found"),
		"a page":              registrytest.FailHTML(404),
		"busy":                registrytest.Fail(409, "CONFLICT", "another request is at this upload"),
		"out of step":         {Status: 416, Errors: []registrytest.Error{{Code: "RANGE_INVALID"}}},
		"invalid":             registrytest.Fail(400, "BLOB_UPLOAD_INVALID", "blob upload invalid"),
		"damaged":             registrytest.Fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
		"a closed connection": registrytest.Close(),
		"a lost answer":       registrytest.LostAnswer(),
	} {
		for way, o := range map[string]registrytest.Options{"by PUT": {}, "by PATCH": {PatchOnly: true}, "in pieces": {MaxBody: 300 << 10}} {
			t.Run(name+" "+way, func(t *testing.T) {
				var times atomic.Int64
				o.Script = refusedTwice(o, answer, &times)
				uploaded(t, o)
				assert.EqualValues(t, 2, times.Load())
			})
		}
	}
	// A registry that never finds the content right is not asked for ever.
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(imagetest.Platforms(2, 1, 100), "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(registrytest.Matching(http.MethodPut, registrytest.KindUpload),
		registrytest.EveryNth(1, registrytest.Fail(400, "DIGEST_INVALID", "never right")))}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, MaxParallelDownloads: 1})
	require.ErrorContains(t, err, "never right")
	assert.LessOrEqual(t, dst.Count(registrytest.Is(http.MethodPut, registrytest.KindUpload)), 4)
	assert.Empty(t, dst.Top("v1"))
}

// refusedTwice is a Script that gives the answer to two requests for uploads of uploadedFixture,
// which bring content or end an upload in the way in which the registry takes it. They are of two
// blobs, as content is not found wrong twice in being sent: in pieces, one is the large blob, in
// whatever order blobs come. times counts them.
func refusedTwice(o registrytest.Options, answer registrytest.Answer, times *atomic.Int64) registrytest.Script {
	f := uploadedFixture()
	large := f.Digest("large").String()
	blobOf := func(q *http.Request) string {
		switch d := q.URL.Query().Get("digest"); {
		case d == large || q.ContentLength > notLarge:
			return large
		case d == "" || !o.PatchOnly:
			return cmp.Or(d, fmt.Sprint(q.ContentLength))
		default: // that of a PATCH is known by the size
			return fmt.Sprint(f.Size(f.Name(digest.Digest(d))))
		}
	}
	var mu sync.Mutex
	var requests, pieces int // so far; guarded by mu
	var first string         // the blob of the first one; guarded by mu
	refuses := func(blob string, q *http.Request) bool {
		if o.MaxBody > 0 && blob == large {
			if q.Method == http.MethodPatch {
				pieces++
			}
			return q.Method == http.MethodPatch && pieces == 2
		}
		requests++
		if requests == 5 {
			first = blob
			return true
		}
		return o.MaxBody == 0 && requests >= 8 && times.Load() == 1 && blob != first
	}
	return registrytest.Only(
		func(q *http.Request) bool {
			return strings.Contains(q.URL.Path, "/blobs/uploads/") && q.Method != http.MethodPost &&
				!(o.PatchOnly && bringsContent(q) || o.MaxBody > 0 && bringsContent(q) && q.ContentLength > o.MaxBody)
		},
		func(_ int, q *http.Request) registrytest.Answer {
			mu.Lock()
			defer mu.Unlock()
			if !refuses(blobOf(q), q) {
				return registrytest.Answer{}
			}
			times.Add(1)
			return answer
		})
}

// failingMounts: a registry does not mount from another repository, whatever it says instead.
func failingMounts(t *testing.T) {
	for name, answer := range map[string]registrytest.Answer{
		"400": registrytest.Fail(400, "UNSUPPORTED", "no"), "401": registrytest.Fail(401, "UNAUTHORIZED", "no"), "403": registrytest.Fail(403, "DENIED", "no"),
		"404": registrytest.Fail(404, "NAME_UNKNOWN", "no"), "405": registrytest.FailHTML(405), "409": registrytest.FailHTML(409), "500": registrytest.FailHTML(500),
		"501": registrytest.FailHTML(501), "502": registrytest.FailHTML(502), "503": registrytest.FailHTML(503), "429": registrytest.FailHTML(429),
		"200": {Status: 200}, "202 without a place": {Status: 202}, "204": {Status: 204}, "301": {Status: 301, Header: http.Header{"Location": {"/"}}},
		"a closed connection": registrytest.Close(), "a lost answer": registrytest.LostAnswer(),
	} {
		t.Run(name, func(t *testing.T) {
			mounted(t, registrytest.Options{}, func(q *http.Request) registrytest.Answer {
				if q.Method == http.MethodPost && q.URL.Query().Has("mount") {
					return answer
				}
				return registrytest.Answer{}
			})
		})
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		t.Run(fmt.Sprintf("no token for both, %d", status), func(t *testing.T) {
			mounted(t, registrytest.Options{Auth: &registrytest.Auth{Bearer: true, Accounts: []registrytest.Account{{Username: "u", Password: "p"}}}},
				func(q *http.Request) registrytest.Answer {
					if q.URL.Path == "/token" && strings.Count(strings.Join(q.URL.Query()["scope"], " "), "repository:") > 1 {
						return registrytest.Fail(status, "DENIED", "not for both")
					}
					return registrytest.Answer{}
				})
		})
	}
}

// mounted copies within one registry, from one repository to another.
func mounted(t *testing.T, answers registrytest.Options, script func(*http.Request) registrytest.Answer) {
	t.Helper()
	f := imagetest.Platforms(3, 2, 100)
	e := copytest.NewEnv(t)
	if answers.Auth != nil {
		e.Sys.DockerAuthConfig = &types.DockerAuthConfig{Username: "u", Password: "p"}
	}
	if script != nil {
		answers.Script = func(_ int, q *http.Request) registrytest.Answer { return script(q) }
	}
	src := copytest.RegistryAt(t, registrytest.Start(t, answers), "from/here")
	src.Push(f, "v1", imagetest.Top)
	for _, to := range []string{"to/there", "from/elsewhere"} {
		dst := copytest.RegistryAt(t, src.Registry, to)
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
		require.NoError(t, err)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// phantomBlobs: the registry says of a blob that it is there, and when it is to store a manifest
// that it is not. The blob is sent, once.
func phantomBlobs(t *testing.T) {
	for name, answer := range map[string]func([]digest.Digest) registrytest.Answer{
		"each in a detail": nil,
		"one in a detail": func(d []digest.Digest) registrytest.Answer {
			return registrytest.Answer{Status: 404, Errors: []registrytest.Error{{Code: "BLOB_UNKNOWN", Detail: map[string]any{"digest": d[0]}}}}
		},
		"in a message": func(d []digest.Digest) registrytest.Answer {
			return registrytest.Fail(400, "LAYERS_NOT_FOUND", fmt.Sprintf("The layers with digests '%s' required for pushing image do not exist", d))
		},
		"without a code": func(d []digest.Digest) registrytest.Answer {
			return registrytest.Fail(400, "", "blob "+d[0].String()+" not found")
		},
	} {
		for how, o := range map[string]registrytest.Options{"mounts": {}, "no mounts": {IgnoreMounts: true}, "PATCH": {PatchOnly: true}} {
			t.Run(name+", "+how, func(t *testing.T) {
				f := uploadedFixture()
				e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				pushAttached(f, src)
				src.Push(f, "", "sbom-large")
				src.Push(f, "single", "amd64")
				o.BlobsUnknown = answer
				dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
				lost := []string{"amd64.0", "amd64.config", "arm64.0", "sbom of amd64", "large", "cosign of amd64"}
				for _, name := range lost {
					dst.PutBlob("app", f.Content(name))
					dst.LoseBlob("app", f.Digest(name))
				}
				r, err := e.Image(t.Context(), dst.Ref("single"), src.Ref("single"), copy.Options{})
				require.NoError(t, err)
				assert.Equal(t, 2, r.BlobsCopied)
				assert.Zero(t, r.BlobsReused)
				_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
				require.NoError(t, err)
				checkUploaded(t, e, f, dst)
				for _, name := range lost {
					again := 0
					for _, event := range dst.History("app") {
						if event.Digest == f.Digest(name) && event.Request > 0 && !event.Changed && event.Kind == registrytest.EventBlob {
							again++
						}
					}
					assert.LessOrEqual(t, again, 2, "%s: mounted, and sent once", name)
				}
			})
		}
	}
	// A registry that goes on saying so is an error.
	f := imagetest.Platforms(2, 1, 100)
	e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		func(q *http.Request) bool {
			return q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, f.Digest("amd64").String())
		},
		registrytest.EveryNth(1, registrytest.Answer{Status: 400, Errors: []registrytest.Error{{Code: "BLOB_UNKNOWN", Detail: f.Digest("amd64.0")}}}))}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.ErrorContains(t, err, "BLOB_UNKNOWN")
	assert.Equal(t, 2, dst.PutsOf(f.Digest("amd64").String()))
	assert.Empty(t, dst.Top("v1"))
}

// lengthsOfHEAD: a blob of another length is not the blob; no length, or 0, says nothing.
func lengthsOfHEAD(t *testing.T) {
	f := imagetest.Platforms(2, 2, 1000)
	for name, c := range map[string]struct {
		head  registrytest.Answer
		o     registrytest.Options
		sends bool
	}{
		"shorter": {head: registrytest.WrongLength(-10), sends: true},
		"longer":  {head: registrytest.WrongLength(10), sends: true},
		"none":    {o: registrytest.Options{NoLengthOfHEAD: true}},
		"0":       {head: registrytest.WrongLength(-1 << 30)},
	} {
		e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
		src.Push(f, "v1", imagetest.Top)
		c.o.Script = func(_ int, q *http.Request) registrytest.Answer {
			switch {
			case q.Method == http.MethodHead && strings.Contains(q.URL.Path, "/blobs/"):
				return c.head
			case q.Method == http.MethodPost && q.URL.Query().Has("mount"): // so that HEAD is asked
				return registrytest.FailHTML(http.StatusMethodNotAllowed)
			}
			return registrytest.Answer{}
		}
		dst := copytest.RegistryAt(t, registrytest.Start(t, c.o), "app")
		dst.Push(f, "other", imagetest.Top)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, CheckBlobs: true, MaxParallelDownloads: 1})
		require.NoError(t, err, name)
		assert.Equal(t, c.sends, r.BlobsReused == 0, name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// commitRace: a registry does not know a child yet that it has just stored. It is put again, and
// the list once more.
func commitRace(t *testing.T) {
	unnamed := func(l registrytest.ListPut) registrytest.Answer {
		if l.Attempt == 1 {
			return registrytest.Fail(400, "BLOB_UNKNOWN", "blob unknown to registry")
		}
		return registrytest.Accept(l)
	}
	for name, policy := range map[string]registrytest.ListPolicy{"named": registrytest.NexusRace, "unnamed": unnamed} {
		for set, c := range map[string]struct {
			f *imagetest.Fixture
			o copy.Options
		}{
			"all":         {imagetest.Platforms(3, 1, 100), copy.Options{ImageListSelection: copy.CopyAllImages}},
			"Docker list": {imagetest.DockerList(), copy.Options{ImageListSelection: copy.CopyAllImages}},
			"nested":      {imagetest.Nested(), copy.Options{ImageListSelection: copy.CopyAllImages}},
			"stripped": {imagetest.Platforms(3, 1, 100), copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.StripSparseManifestList,
			}},
		} {
			e, src := copytest.NewEnv(t), copytest.Places["registry"](t).(copytest.RegistryPlace)
			src.Push(c.f, "v1", imagetest.Top)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy}), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.o)
			require.NoError(t, err, "%s, %s", name, set)
			dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: c.f})
		}
		// A list that is attached.
		f := imagetest.Platforms(2, 1, 100)
		f.Artifact("one", imagetest.ArtifactType(copytest.SbomType))
		f.List("attached", imagetest.Entries("one"), imagetest.Subject("amd64"), imagetest.ArtifactType(copytest.SbomType))
		e, src := copytest.NewEnv(t), copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
		src.Push(f, "v1", imagetest.Top)
		src.Push(f, "", "attached")
		dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ListPolicy: policy}), "app")
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err, name)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
		assert.Equal(t, f.Digests("attached"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
	}
}
