package copy

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
)

const (
	sbomType      = "application/spdx+json"
	signatureType = "application/vnd.example.signature"
)

// attachedFixture is a list of four platforms, each with an SBOM that has a signature, and a signature of the list.
func attachedFixture() *imagetest.Fixture {
	f := imagetest.Platforms(4, 1, 100)
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		f.Blob("sbom of "+name, sbomType, []byte(`{"of":"`+name+`"}`))
		f.Artifact("sbom-"+name, imagetest.ArtifactType(sbomType), imagetest.Subject(name), imagetest.Layers("sbom of "+name))
		f.Blob("signature of sbom-"+name, signatureType, []byte("signed sbom-"+name))
		f.Artifact("sig-sbom-"+name, imagetest.ArtifactType(signatureType), imagetest.Subject("sbom-"+name), imagetest.Layers("signature of sbom-"+name))
	}
	f.Blob("signature of top", signatureType, []byte("signed top"))
	f.Artifact("sig-top", imagetest.ArtifactType(signatureType), imagetest.Subject(imagetest.Top), imagetest.Layers("signature of top"))
	f.Blob("cosign of amd64", signatureType, []byte("cosigned amd64"))
	f.Artifact("cosign-amd64", imagetest.Layers("cosign of amd64"))
	f.Blob("cosign of ppc64le", signatureType, []byte("cosigned ppc64le"))
	f.Artifact("cosign-ppc64le", imagetest.Layers("cosign of ppc64le"))
	return f
}

// pushAttached pushes the fixture with everything attached. A registry without the referrers API gets referrers tags.
func pushAttached(t testing.TB, f *imagetest.Fixture, p registryPlace, api bool) {
	p.push(f, "v1", imagetest.Top)
	subjects := map[string]string{"sig-top": imagetest.Top}
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		subjects["sbom-"+name], subjects["sig-sbom-"+name] = name, "sbom-"+name
	}
	for referrer, subject := range subjects {
		p.push(f, "", referrer)
		if !api {
			index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`,
				f.Digest(referrer), f.Size(referrer))
			p.PutManifest(p.repo, endpoint.ReferrersTag(f.Digest(subject)), "application/vnd.oci.image.index.v1+json", []byte(index))
		}
	}
	for _, name := range []string{"amd64", "ppc64le"} {
		p.push(f, strings.Replace(f.Digest(name).String(), ":", "-", 1)+".sig", "cosign-"+name)
	}
}

// TestReferrersFollow strips to two platforms and carries what is attached to those two, and to nothing else, between registries with
// and without the referrers API.
func TestReferrersFollow(t *testing.T) {
	f := attachedFixture()
	o := Options{
		ImageListSelection: CopySpecificImages, InstancePlatforms: platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: StripSparseManifestList, Referrers: AllReferrers, DigestTags: true,
	}
	attached := []string{"sbom-amd64", "sig-sbom-amd64", "sbom-arm64", "sig-sbom-arm64", "cosign-amd64"}
	others := []string{"sbom-arm/v7", "sig-sbom-arm/v7", "sbom-ppc64le", "cosign-ppc64le", "sig-top"}
	for _, sourceAPI := range []bool{true, false} {
		for _, destinationAPI := range []bool{true, false} {
			t.Run(fmt.Sprintf("API at the source %t, at the destination %t", sourceAPI, destinationAPI), func(t *testing.T) {
				e := newEnv(t)
				src := registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: !sourceAPI}), "app"}
				dst := registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: !destinationAPI, Strict: true}), "app"}
				pushAttached(t, f, src, sourceAPI)
				r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
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
				assert.Equal(t, f.Digests("sbom-amd64"), referrersAt(t, e, dst, f.Digest("amd64")))
				assert.Equal(t, f.Digests("sig-sbom-amd64"), referrersAt(t, e, dst, f.Digest("sbom-amd64")))
				last := dst.History("app")[len(dst.History("app"))-1]
				assert.Equal(t, "v1", last.Tag, "the tag is written last")

				before := dst.Snapshot("app")
				again, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.False(t, again.Written)
				assert.Zero(t, again.BlobsCopied)
				assert.Equal(t, before, dst.Snapshot("app"))

				// One more SBOM later arrives with the next run, beside what is there.
				f2 := attachedFixture()
				f2.Blob("late", sbomType, []byte(`{"late":true}`))
				f2.Artifact("late-sbom", imagetest.ArtifactType(sbomType), imagetest.Subject("amd64"), imagetest.Layers("late"))
				src.push(f2, "", "late-sbom")
				if !sourceAPI {
					src.PutManifest("app", endpoint.ReferrersTag(f.Digest("amd64")), "application/vnd.oci.image.index.v1+json", []byte(fmt.Sprintf(
						`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`,
						f2.Digest("late-sbom"), f2.Size("late-sbom"))))
				}
				_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				assert.ElementsMatch(t, f2.Digests("sbom-amd64", "late-sbom"), referrersAt(t, e, dst, f.Digest("amd64")))
			})
		}
	}
}

// TestReferrersOfTheList are copied when the list is kept, and on request when it is not.
func TestReferrersOfTheList(t *testing.T) {
	f := attachedFixture()
	for name, c := range map[string]struct {
		strict  bool
		options Options
		there   bool
	}{
		"keep":                 {false, Options{Referrers: AllReferrers}, true},
		"keep, other type":     {false, Options{Referrers: AllReferrers, ReferrerTypes: []string{sbomType}}, false},
		"none":                 {false, Options{}, false},
		"auto, kept":           {false, Options{Referrers: AllReferrers, SparseManifestListAction: AutoSparseManifestList}, true},
		"auto, stripped":       {true, Options{Referrers: AllReferrers, SparseManifestListAction: AutoSparseManifestList}, false},
		"strip":                {true, Options{Referrers: AllReferrers, SparseManifestListAction: StripSparseManifestList}, false},
		"strip, void all same": {true, Options{Referrers: AllReferrers, SparseManifestListAction: StripSparseManifestList, KeepVoid: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
			dst := registryPlace{t, registrytest.Start(t, registrytest.Options{Strict: c.strict}), "app"}
			pushAttached(t, f, src, true)
			o := c.options
			o.ImageListSelection, o.InstancePlatforms = CopySpecificImages, platforms("linux/amd64")
			r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
			require.NoError(t, err)
			_, _, ok := dst.Manifest("app", f.Digest("sig-top").String())
			assert.Equal(t, c.there, ok)
			if o.Referrers == NoReferrers {
				assert.Zero(t, src.Count(registrytest.Is(http.MethodGet, registrytest.KindReferrers)), "nobody asked")
				return
			}
			for _, a := range r.Attached {
				if a.Digest == f.Digest("sig-top") {
					assert.Equal(t, c.there, a.Outcome == Copied)
				}
			}
		})
	}
}

// TestReferrersThatLie are left out with a warning, or end the copy within the limits.
func TestReferrersThatLie(t *testing.T) {
	e := newEnv(t)
	f := attachedFixture()
	src := registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app"}
	dst := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
	src.push(f, "v1", "amd64")
	src.push(f, "", "sbom-arm64")
	entry := func(d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":1}`, d)
	}
	index := func(entries ...string) []byte {
		return []byte(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)
	}
	tag := endpoint.ReferrersTag(f.Digest("amd64"))
	o := Options{Referrers: AllReferrers}

	// One of another subject, one that is not there, and the image itself.
	src.PutManifest("app", tag, "application/vnd.oci.image.index.v1+json",
		index(entry(f.Digest("sbom-arm64")), entry(f.Digest("sig-top")), entry(f.Digest("amd64"))))
	r, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
	require.NoError(t, err)
	assert.Len(t, r.Warnings, 3)
	assert.Empty(t, r.Attached)

	var many []string
	for i := range endpoint.MaxReferrers + 1 {
		many = append(many, entry(digest.FromString(fmt.Sprint(i))))
	}
	src.PutManifest("app", tag, "application/vnd.oci.image.index.v1+json", index(many...))
	_, err = e.image(t.Context(), dst.ref("v2"), src.ref("v1"), o)
	var limit *endpoint.ReferrersLimitError
	require.ErrorAs(t, err, &limit)
	assert.Empty(t, dst.top("v2"))
}
