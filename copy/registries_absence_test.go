package copy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
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

// followers are options that ask for everything that is attached.
func followers() Options {
	return Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers, DigestTags: true}
}

// absentAs: whatever a registry answers for what it does not have, at either end, what is missing is missing, and nothing is attached.
func absentAs(t *testing.T, answers registrytest.Options) {
	answers.NoReferrers = true
	f := attachedFixture()
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	e := newEnv(t)
	src := registryPlace{t, registrytest.Start(t, answers), "app"}
	src.push(f, "v1", imagetest.Top, "arm64")
	src.push(f, cosigned, "cosign-amd64")
	for name, o := range map[string]registrytest.Options{"the same": answers, "as specified": {}} {
		dst := registryPlace{t, registrytest.Start(t, o), "app"}
		options := followers()
		options.MissingInstances = SkipMissing
		r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), options)
		require.NoError(t, err, name)
		assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
		assert.Empty(t, r.Warnings)
		dst.check(imagetest.Want{
			Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f, Present: []string{"amd64", "arm/v7", "ppc64le"}, Absent: []string{"arm64"},
		})
		d, ok := dst.Resolve("app", cosigned)
		assert.True(t, ok)
		assert.Equal(t, f.Digest("cosign-amd64"), d)
	}
	dst := places["registry"](t)
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, f.Digest("arm64"), missing.Missing[0].Digest)

	// Where registries.d says that signatures are attached, an unsigned image has none.
	require.NoError(t, os.WriteFile(filepath.Join(e.sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm/v7"), SparseManifestListAction: StripSparseManifestList,
	})
	require.NoError(t, err)
	assert.NotEmpty(t, dst.top("v1"))
}

// mirrored is a configuration with which the images of a registry are read from a mirror first.
func mirrored(t *testing.T, e *env, original, mirror *registrytest.Registry) *types.SystemContext {
	t.Helper()
	sys := *e.sys
	sys.SystemRegistriesConfPath = filepath.Join(t.TempDir(), "registries.conf")
	require.NoError(t, os.WriteFile(sys.SystemRegistriesConfPath, fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n",
		original.Host(), mirror.Host()), 0o600))
	return &sys
}

// pageBeforeAnything: the registry behind a mirror answers 404 to everything, with a page: that is a proxy, and nothing is missing.
func pageBeforeAnything(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	e := newEnv(t)
	mirror := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	mirror.push(f, "v1", imagetest.Top, "arm64")
	for _, proxied := range []bool{true, false} {
		original := registryPlace{t, registrytest.Start(t, registrytest.Options{AbsentPage: proxied}), "app"}
		dst := places["registry"](t)
		o := Options{ImageListSelection: CopyAllImages, MissingInstances: SkipMissing, SourceCtx: mirrored(t, e, original.Registry, mirror.Registry)}
		_, err := e.image(t.Context(), dst.ref("v1"), original.ref("v1"), o)
		if !proxied { // the original says it in a registry's words
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "404 Not Found")
		require.NotErrorIs(t, err, endpoint.ErrNotFound)
		assert.Empty(t, dst.top("v1"))
	}
}

// deniedWith404: a 404 that is about access says nothing about what is there.
func deniedWith404(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	for name, kind := range map[string]func(*http.Request) bool{
		"a child":   func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, f.Digest("arm64").String()) },
		"a tag":     func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, ".sig") },
		"referrers": registrytest.Matching("GET", registrytest.KindReferrers),
	} {
		src := registryPlace{t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(kind, registrytest.EveryNth(1,
			registrytest.Fail(http.StatusNotFound, "DENIED", "requested access to the resource is denied")))}), "app"}
		pushAttached(t, f, src, true)
		dst := places["registry"](t)
		o := followers()
		o.MissingInstances = SkipMissing
		_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
		require.ErrorContains(t, err, "denied", name)
		assert.Empty(t, dst.top("v1"), name)
	}
}

// tokenServiceNotFound: from the moment at which the top is read, the token service answers 404, as behind a proxy whose backend is gone.
// No signature, no child and no list is lost by that.
func tokenServiceNotFound(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	for name, o := range map[string]Options{
		"tags":      {ImageListSelection: CopyAllImages, DigestTags: true},
		"referrers": {ImageListSelection: CopyAllImages, Referrers: AllReferrers},
		"missing":   {ImageListSelection: CopyAllImages, MissingInstances: SkipMissing},
		"guarded": {
			ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm/v7"), ListSignatures: GuardListSignatures,
			SparseManifestListAction: StripSparseManifestList,
		},
	} {
		for how, answer := range map[string]registrytest.Answer{
			"a page": registrytest.FailHTML(http.StatusNotFound), "in a registry's words": registrytest.Fail(http.StatusNotFound, "NAME_UNKNOWN", "no"),
		} {
			var gone atomic.Bool
			src := registryPlace{t, registrytest.Start(t, registrytest.Options{
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
			}), "app"}
			pushAttached(t, f, src, true)
			dst := places["registry"](t)
			_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.Error(t, err, "%s, %s", name, how)
			require.ErrorContains(t, err, "404", "%s, %s", name, how)
			assert.Empty(t, dst.top("v1"))
			require.True(t, gone.Load())
		}
	}
	assert.True(t, endpoint.IsUnanswered(&RegistryError{Status: http.StatusNotFound, TokenService: true}), "which guards a list")
}

// forbiddenTags: where absent tags are forbidden, whether an image is signed is not known. The copy goes on, and says so of each
// image; a list is not stripped where that must be known.
func forbiddenTags(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{ForbidAbsentTags: true, NoReferrers: true}), "app"}
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	src.push(f, "v1", imagetest.Top)
	src.push(f, cosigned, "cosign-amd64")
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), followers())
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

	prepared, err := Prepare(t.Context(), e.policy, dst.ref("v2"), src.ref("v1"), e.options(followers()))
	require.NoError(t, err)
	assert.Contains(t, prepared.Plan().String(), "warning: whether "+f.Digest("arm64").String()+" has ", "a plan says so too")
	require.NoError(t, prepared.Close())

	strip := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm/v7"), SparseManifestListAction: StripSparseManifestList,
	}
	guarded := strip
	guarded.ListSignatures = GuardListSignatures
	other := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	var kept *CannotModifyError
	_, err = e.image(t.Context(), other.ref("v1"), src.ref("v1"), guarded)
	require.ErrorAs(t, err, &kept)
	assert.Contains(t, kept.Reason, "could not be asked")

	// Where registries.d says that signatures are attached, they must be known before a list is stripped.
	require.NoError(t, os.WriteFile(filepath.Join(e.sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	_, err = e.image(t.Context(), other.ref("v1"), src.ref("v1"), strip)
	require.ErrorAs(t, err, &kept)
	assert.Contains(t, kept.Reason, "could not be asked")
	assert.Empty(t, other.top("v1"))
	r, err = e.image(t.Context(), other.ref("v1"), src.ref("v1"), Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/arm/v7"),
	})
	require.NoError(t, err)
	assert.Equal(t, f.Digest(imagetest.Top), r.DestinationDigest)
	assert.Contains(t, strings.Join(r.Warnings, "\n"), "whether "+f.Digest("arm/v7").String()+" is signed could not be asked")
	strip.RemoveListSignatures = true
	_, err = e.image(t.Context(), other.ref("stripped"), src.ref("v1"), strip)
	require.NoError(t, err)
}

// forbiddenTagAlone: where other absent tags are 404, a 403 is a refusal, and an error.
func forbiddenTagAlone(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	cosigned := strings.Replace(f.Digest("amd64").String(), ":", "-", 1) + ".sig"
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{Script: registrytest.Only(
		func(q *http.Request) bool { return strings.HasSuffix(q.URL.Path, cosigned) },
		registrytest.EveryNth(1, registrytest.Fail(http.StatusForbidden, "DENIED", "not this one")))}), "app"}
	pushAttached(t, f, src, true)
	dst := places["registry"](t)
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), followers())
	require.ErrorContains(t, err, "not this one")
	assert.Empty(t, dst.top("v1"))
}

// forbiddenAtDestination: a destination that does not tell what a tag names gets nothing written over that.
func forbiddenAtDestination(t *testing.T) {
	f := attachedFixture()
	e := newEnv(t)
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	pushAttached(t, f, src, true)
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{ForbidAbsentTags: true}), "app"}
	_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages, DigestTags: true})
	var refused *RegistryError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, http.StatusForbidden, refused.Status)
	assert.Empty(t, dst.top("v1"))
	assert.Empty(t, dst.Tags("app"))

	// A copy that needs no answer about a tag gets through.
	_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), Options{ImageListSelection: CopyAllImages})
	require.NoError(t, err)
	dst.check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}
