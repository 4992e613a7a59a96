package copy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestReferrersFollow strips to two platforms and carries what is attached to those two, and to
// nothing else, between registries with and without the referrers API.
func TestReferrersFollow(t *testing.T) {
	f := copytest.AttachedFixture()
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, Referrers: copy.AllReferrers, DigestTags: true,
	}
	attached := []string{"sbom-amd64", "sig-sbom-amd64", "sbom-arm64", "sig-sbom-arm64", "cosign-amd64"}
	others := []string{"sbom-arm/v7", "sig-sbom-arm/v7", "sbom-ppc64le", "cosign-ppc64le", "sig-top"}
	for _, sourceAPI := range []bool{true, false} {
		for _, destinationAPI := range []bool{true, false} {
			t.Run(fmt.Sprintf("API at the source %t, at the destination %t", sourceAPI, destinationAPI), func(t *testing.T) {
				e := copytest.NewEnv(t)
				src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !sourceAPI}), "app")
				dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !destinationAPI, Strict: true}), "app")
				copytest.PushAttached(t, f, src, sourceAPI)
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				for _, name := range attached {
					_, _, ok := dst.Manifest("app", f.Digest(name).String())
					assert.True(t, ok, name)
				}
				for _, name := range others {
					_, _, ok := dst.Manifest("app", f.Digest(name).String())
					assert.False(t, ok, name)
				}
				assert.Equal(t, []string{fmt.Sprintf("what is attached to the list %s (1)", f.Digest(imagetest.Top))}, r.Plan.Void)
				d, ok := dst.Resolve("app", strings.Replace(f.Digest("amd64").String(), ":", "-", 1)+".sig")
				assert.True(t, ok)
				assert.Equal(t, f.Digest("cosign-amd64"), d)
				assert.Equal(t, f.Digests("sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
				assert.Equal(t, f.Digests("sig-sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("sbom-amd64")))
				last := dst.History("app")[len(dst.History("app"))-1]
				assert.Equal(t, "v1", last.Tag, "the tag is written last")

				before := dst.Snapshot("app")
				again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, again.Written)
				assert.Zero(t, again.BlobsCopied)
				assert.Equal(t, before, dst.Snapshot("app"))

				// One more SBOM later arrives with the next run, beside what is there.
				f2 := copytest.AttachedFixture()
				f2.Blob("late", copytest.SbomType, []byte(`{"late":true}`))
				f2.Artifact("late-sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("late"))
				src.Push(f2, "", "late-sbom")
				if !sourceAPI {
					src.PutManifest("app", endpoint.ReferrersTag(f.Digest("amd64")), "application/vnd.oci.image.index.v1+json", []byte(fmt.Sprintf(
						`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`,
						f2.Digest("late-sbom"), f2.Size("late-sbom"))))
				}
				_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.ElementsMatch(t, f2.Digests("sbom-amd64", "late-sbom"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
			})
		}
	}
}

// TestReferrersOfTheList are copied when the list is kept, and on request when it is not.
func TestReferrersOfTheList(t *testing.T) {
	f := copytest.AttachedFixture()
	for name, c := range map[string]struct {
		strict  bool
		options copy.Options
		there   bool
	}{
		"keep":                 {false, copy.Options{Referrers: copy.AllReferrers}, true},
		"keep, other type":     {false, copy.Options{Referrers: copy.AllReferrers, ReferrerTypes: []string{copytest.SbomType}}, false},
		"none":                 {false, copy.Options{}, false},
		"auto, kept":           {false, copy.Options{Referrers: copy.AllReferrers, SparseManifestListAction: copy.AutoSparseManifestList}, true},
		"auto, stripped":       {true, copy.Options{Referrers: copy.AllReferrers, SparseManifestListAction: copy.AutoSparseManifestList}, false},
		"strip":                {true, copy.Options{Referrers: copy.AllReferrers, SparseManifestListAction: copy.StripSparseManifestList}, false},
		"strip, void all same": {true, copy.Options{Referrers: copy.AllReferrers, SparseManifestListAction: copy.StripSparseManifestList, KeepVoid: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: c.strict}), "app")
			copytest.PushAttached(t, f, src, true)
			o := c.options
			o.ImageListSelection, o.InstancePlatforms = copy.CopySpecificImages, copytest.Platforms("linux/amd64")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			_, _, ok := dst.Manifest("app", f.Digest("sig-top").String())
			assert.Equal(t, c.there, ok)
			if o.Referrers == copy.NoReferrers {
				assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "nobody asked")
				return
			}
			for _, a := range r.Attached {
				if a.Digest == f.Digest("sig-top") {
					assert.Equal(t, c.there, a.Outcome == copy.Copied)
				}
			}
		})
	}
}

// TestReferrersThatLie are left out with a warning, or end the copy within the limits.
func TestReferrersThatLie(t *testing.T) {
	e := copytest.NewEnv(t)
	f := copytest.AttachedFixture()
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "amd64")
	src.Push(f, "", "sbom-arm64")
	entry := func(d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":1}`, d)
	}
	index := func(entries ...string) []byte {
		return []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)
	}
	tag := endpoint.ReferrersTag(f.Digest("amd64"))
	o := copy.Options{Referrers: copy.AllReferrers}

	// One of another subject, one that is not there, and the image itself.
	src.PutManifest("app", tag, "application/vnd.oci.image.index.v1+json",
		index(entry(f.Digest("sbom-arm64")), entry(f.Digest("sig-top")), entry(f.Digest("amd64"))))
	r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Len(t, r.Warnings, 3)
	assert.Empty(t, r.Attached)

	var many []string
	for i := range endpoint.MaxReferrers + 1 {
		many = append(many, entry(digest.FromString(fmt.Sprint(i))))
	}
	src.PutManifest("app", tag, "application/vnd.oci.image.index.v1+json", index(many...))
	_, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), o)
	var limit *endpoint.ReferrersLimitError
	require.ErrorAs(t, err, &limit)
	assert.Empty(t, dst.Top("v2"))
}

// TestTagBesideTheAPIUnanswered: where the referrers API answers, and there is no answer for the
// referrers tag beside it, what the API lists is copied, and verified, and that there may be more
// is said.
func TestTagBesideTheAPIUnanswered(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	busy := registrytest.Options{Script: registrytest.Only(func(q *http.Request) bool {
		return q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/manifests/"+endpoint.ReferrersTag(f.Digest("amd64")))
	}, registrytest.EveryNth(1, registrytest.Fail(http.StatusServiceUnavailable, "UNAVAILABLE", "busy")))}
	src := copytest.RegistryAt(t, registrytest.Start(t, busy), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, busy), "app")
	copytest.PushAttached(t, f, src, true)
	for range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err)
		assert.Len(t, r.Attached, 11)
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "whether "+f.Digest("amd64").String()+" has referrers could not be asked, and is not known")
		assert.Contains(t, r.Warnings[0], "the referrers tag beside the API")
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	o := copytest.Followers()
	v, err := e.Copier(o).Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
	require.NoError(t, err)
	assert.Empty(t, v.Violations)

	_, err = e.Image(t.Context(), dst.Ref("v2"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), Referrers: copy.AllReferrers,
		SparseManifestListAction: copy.StripSparseManifestList, ListSignatures: copy.GuardListSignatures,
	})
	require.NoError(t, err, "the list's own tag is answered")
}
