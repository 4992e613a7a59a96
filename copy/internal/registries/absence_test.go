package registries

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// absenceHabits are answers about what is absent.
var absenceHabits = []habit{
	{"redhat-404-unknown", func(t *testing.T) { absentAs(t, registrytest.Options{AbsentCode: "UNKNOWN"}) }},
	{"quay-tag-expired", func(t *testing.T) { absentAs(t, registrytest.Options{AbsentCode: "TAG_EXPIRED"}) }},
	{"404-name-unknown", func(t *testing.T) { absentAs(t, registrytest.Options{AbsentCode: "NAME_UNKNOWN"}) }},
	{"artifactory-404-without-code", func(t *testing.T) { absentAs(t, registrytest.Options{AbsentCode: "-"}) }},
	{"404-page", func(t *testing.T) { absentAs(t, registrytest.Options{AbsentPage: true}) }},
	{"404-page-before-anything", pageBeforeAnything},
	{"404-denied", deniedWith404},
	{"token-service-404", tokenServiceNotFound},
	{"artifactory-403-absent-tag", forbiddenTags},
	{"403-of-a-tag-alone", forbiddenTagAlone},
	{"403-at-the-destination", forbiddenAtDestination},
}

// absentAs: whatever a registry answers for what it does not have, at either end, what is missing
// is missing, and nothing is attached.
func absentAs(t *testing.T, answers registrytest.Options) {
	answers.NoReferrers = true
	f := copytest.AttachedFixture()
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, answers), "app")
	src.Push(f, "v1", imagetest.Top, "arm64")
	src.Push(f, cosigned, "cosign-amd64")
	for name, o := range map[string]registrytest.Options{"the same": answers, "as specified": {}} {
		dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
		options := copytest.Followers()
		options.MissingInstances = copy.SkipMissing
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), options)
		require.NoError(t, err, name)
		assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
		assert.Empty(t, r.Warnings)
		dst.Check(imagetest.Want{
			Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm/v7", "ppc64le"}, Absent: []string{"arm64"},
		})
		d, ok := dst.Resolve("app", cosigned)
		assert.True(t, ok)
		assert.Equal(t, f.Digest("cosign-amd64"), d)
	}
	dst := copytest.Places["registry"](t)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	var missing *copy.MissingError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, f.Digest("arm64"), missing.Missing[0].Digest)

	// Where registries.d says that signatures are attached, an unsigned image has none.
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v7"), SparseManifestListAction: copy.StripSparseManifestList,
	})
	require.NoError(t, err)
	assert.NotEmpty(t, dst.Top("v1"))
}

// pageBeforeAnything: the registry behind a mirror answers 404 to everything, with a page: that is
// a proxy, and nothing is missing.
func pageBeforeAnything(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	e := copytest.NewEnv(t)
	mirror := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	mirror.Push(f, "v1", imagetest.Top, "arm64")
	for _, proxied := range []bool{true, false} {
		original := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{AbsentPage: proxied}), "app")
		dst := copytest.Places["registry"](t)
		o := copy.Options{ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing, SourceCtx: copytest.Mirrored(t, e, original.Registry, mirror.Registry)}
		_, err := e.Image(t.Context(), dst.Ref("v1"), original.Ref("v1"), o)
		if !proxied { // the original says it in a registry's words
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "404 Not Found")
		require.NotErrorIs(t, err, endpoint.ErrNotFound)
		assert.Empty(t, dst.Top("v1"))
	}
}

// deniedWith404: a 404 that is about access says nothing about what is there.
func deniedWith404(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	for name, kind := range map[string]func(*http.Request) bool{
		"a child":   func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, f.Digest("arm64").String()) },
		"a tag":     func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, ".sig") },
		"referrers": registrytest.Matching("GET", registrytest.KindReferrers),
	} {
		src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(kind, registrytest.EveryNth(1,
			registrytest.Fail(http.StatusNotFound, "DENIED", "requested access to the resource is denied")))}), "app")
		copytest.PushAttached(t, f, src, true)
		dst := copytest.Places["registry"](t)
		o := copytest.Followers()
		o.MissingInstances = copy.SkipMissing
		_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.ErrorContains(t, err, "denied", name)
		assert.Empty(t, dst.Top("v1"), name)
	}
}

// tokenServiceNotFound: from the moment at which the top is read, the token service answers 404, as
// behind a proxy whose backend is gone. No signature, no child and no list is lost by that.
func tokenServiceNotFound(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	for name, o := range map[string]copy.Options{
		"tags":      {ImageListSelection: copy.CopyAllImages, DigestTags: true},
		"referrers": {ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers},
		"missing":   {ImageListSelection: copy.CopyAllImages, MissingInstances: copy.SkipMissing},
		"guarded": {
			ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v7"), ListSignatures: copy.GuardListSignatures,
			SparseManifestListAction: copy.StripSparseManifestList,
		},
	} {
		for how, answer := range map[string]registrytest.Answer{
			"a page": registrytest.FailHTML(http.StatusNotFound), "in a registry's words": registrytest.Fail(http.StatusNotFound, "NAME_UNKNOWN", "no"),
		} {
			var gone atomic.Bool
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{
				Auth: &registrytest.Auth{Bearer: true, AnonymousPull: true, TokenRequests: 1},
				Script: func(_ int, q *http.Request) registrytest.Answer {
					switch {
					case q.URL.Path == "/token" && gone.Load():
						return answer
					case strings.HasSuffix(q.URL.Path, "/manifests/v1") && q.Header.Get("Authorization") != "":
						gone.Store(true)
					}
					return registrytest.Answer{}
				},
			}), "app")
			copytest.PushAttached(t, f, src, true)
			dst := copytest.Places["registry"](t)
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.Error(t, err, "%s, %s", name, how)
			require.ErrorContains(t, err, "404", "%s, %s", name, how)
			assert.Empty(t, dst.Top("v1"))
			require.True(t, gone.Load())
		}
	}
	assert.True(t, endpoint.IsUnanswered(&copy.RegistryError{Status: http.StatusNotFound, TokenService: true}), "which guards a list")
}

// forbiddenTags: where absent tags are forbidden, whether an image is signed is not known. The copy
// goes on, and says so of each image; a list is not stripped where that must be known.
func forbiddenTags(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ForbidAbsentTags: true, NoReferrers: true}), "app")
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, cosigned, "cosign-amd64")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.NoError(t, err)
	said := strings.Join(r.Warnings, "\n")
	for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7", "ppc64le"} {
		assert.Contains(t, said, "whether "+f.Digest(name).String()+" has ", name)
		assert.Equal(t, 1, strings.Count(said, "whether "+f.Digest(name).String()), name)
	}
	assert.Contains(t, said, "could not be asked")
	d, ok := dst.Resolve("app", cosigned)
	assert.True(t, ok, "what is there is copied")
	assert.Equal(t, f.Digest("cosign-amd64"), d)
	nowhere := map[string]bool{} // tags that nothing leads to
	for _, q := range src.Requests() {
		if q.Kind == registrytest.KindManifest && strings.HasSuffix(q.Ref, ".sig") {
			nowhere[q.Ref] = true
		}
	}
	for _, name := range []string{imagetest.Top, "amd64", "arm64", "arm/v7", "ppc64le"} {
		delete(nowhere, strings.Replace(f.Digest(name).String(), ":", "-", 1)+".sig")
	}
	delete(nowhere, strings.Replace(f.Digest("cosign-amd64").String(), ":", "-", 1)+".sig")
	assert.Len(t, nowhere, 1, "one tag that does not exist is asked for, once")

	prepared, err := copy.Prepare(t.Context(), e.Policy, dst.Ref("v2"), src.Ref("v1"), e.Options(copytest.Followers()))
	require.NoError(t, err)
	assert.Contains(t, prepared.Plan().String(), "warning: whether "+f.Digest("arm64").String()+" has ", "a plan says so too")
	require.NoError(t, prepared.Close())

	strip := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v7"), SparseManifestListAction: copy.StripSparseManifestList,
	}
	guarded := strip
	guarded.ListSignatures = copy.GuardListSignatures
	other := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	var kept *copy.CannotModifyError
	_, err = e.Image(t.Context(), other.Ref("v1"), src.Ref("v1"), guarded)
	require.ErrorAs(t, err, &kept)
	assert.Contains(t, kept.Reason, "could not be asked")

	// Where registries.d says that signatures are attached, they must be known before a list is
	// stripped.
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	_, err = e.Image(t.Context(), other.Ref("v1"), src.Ref("v1"), strip)
	require.ErrorAs(t, err, &kept)
	assert.Contains(t, kept.Reason, "could not be asked")
	assert.Empty(t, other.Top("v1"))
	r, err = e.Image(t.Context(), other.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/arm/v7"),
	})
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
	assert.Contains(t, strings.Join(r.Warnings, "\n"), "whether "+f.Digest("arm/v7").String()+" is signed could not be asked")
	strip.RemoveListSignatures = true
	_, err = e.Image(t.Context(), other.Ref("stripped"), src.Ref("v1"), strip)
	require.NoError(t, err)
}

// forbiddenTagAlone: where other absent tags are 404, a 403 is a refusal, and an error.
func forbiddenTagAlone(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, cosigned) },
		registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", "not this one")))}), "app")
	copytest.PushAttached(t, f, src, true)
	dst := copytest.Places["registry"](t)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
	require.ErrorContains(t, err, "not this one")
	assert.Empty(t, dst.Top("v1"))
}

// forbiddenAtDestination: a destination that does not tell what a tag names gets nothing written
// over that.
func forbiddenAtDestination(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{ForbidAbsentTags: true}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true})
	var refused *copy.RegistryError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusForbidden, refused.Status)
	assert.Empty(t, dst.Top("v1"))
	assert.Empty(t, dst.Tags("app"))

	// A copy that needs no answer about a tag gets through.
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}
