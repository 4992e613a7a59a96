package copy_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestAttachedToNestedLists: what is attached to a list in a list, and to what is attached to that,
// by subjects and by tags, goes to registries of all kinds after its subject.
func TestAttachedToNestedLists(t *testing.T) {
	f := imagetest.Nested()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("innermost"))
	f.Artifact("signature", imagetest.ArtifactType(copytest.SignatureType), imagetest.Subject("sbom"))
	f.List("sboms", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("inner"), imagetest.Entries("signature", "sbom"))
	f.Artifact("cosigned", imagetest.Annotation("of", "inner"))
	f.Artifact("cosigned sbom", imagetest.Annotation("of", "sboms"))
	all := []string{"sbom", "signature", "sboms"}
	for to, o := range map[string]registrytest.Options{"as specified": {Strict: true}, "GitLab": copytest.GitLab(), "no API": {Strict: true, NoReferrers: true, RequireSubjects: true}} {
		t.Run(to, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", imagetest.Top)
			for _, name := range all {
				src.Push(f, "", name)
			}
			src.Push(f, copytest.DigestTag(f.Digest("inner"), ".sig"), "cosigned")
			src.Push(f, copytest.DigestTag(f.Digest("sboms"), ".att"), "cosigned sbom")
			dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
			require.NoError(t, err)
			for _, name := range all {
				assert.NotNil(t, copytest.ManifestAt(dst, f.Digest(name)), name)
			}
			assert.Equal(t, f.Digest("cosigned"), dst.Top(copytest.DigestTag(f.Digest("inner"), ".sig")))
			assert.Equal(t, f.Digest("cosigned sbom"), dst.Top(copytest.DigestTag(f.Digest("sboms"), ".att")))
			assert.Equal(t, to == "GitLab", len(r.Warnings) > 0, r.Warnings)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
			again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
			require.NoError(t, err)
			assert.Zero(t, again.ManifestsCopied)
		})
	}
}

// TestSubjectsOfOtherAlgorithms: a subject that is named by a digest of another algorithm has
// referrers, too, under a tag that is shorter than its digest.
func TestSubjectsOfOtherAlgorithms(t *testing.T) {
	f := imagetest.Platforms(1, 1, 100)
	image, mediaType := f.Document("amd64")
	d := digest.SHA512.FromBytes(image)
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		imgspecv1.MediaTypeImageIndex, mediaType, d, len(image))
	for _, from := range []registrytest.Options{{}, {NoReferrers: true}} {
		for to, o := range map[string]registrytest.Options{"as specified": {Strict: true}, "GitLab": copytest.GitLab(), "no API": {Strict: true, NoReferrers: true}} {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, from), "app")
			src.Push(f, "", "amd64")
			src.PutManifest("app", d.String(), mediaType, image)
			src.PutManifest("app", "v1", imgspecv1.MediaTypeImageIndex, list)
			referrer := copytest.Refer(t, src, d, copytest.SbomType, imgspecv1.MediaTypeEmptyJSON, imgspecv1.Descriptor{
				MediaType: copytest.SbomType, Digest: digest.FromString("sbom"), Size: 4,
			}, []byte("sbom"))
			dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
			require.NoError(t, err, to)
			assert.Empty(t, r.Warnings)
			assert.Equal(t, []digest.Digest{referrer}, copytest.ReferrersAt(t, e, dst, d), to)
			if o.NoReferrers {
				_, tagged := dst.Resolve("app", endpoint.ReferrersTag(d))
				assert.True(t, tagged)
			}
		}
	}
}

// TestReferrersTagWithAGap: a registry that wants everything there refuses a referrers tag that
// lists what is not. What is listed stays: that is an error, and the image's tag stays what it was.
func TestReferrersTagWithAGap(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, src, true)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true, Strict: true}), "app")
	gone := digest.FromString("gone")
	merged, _, err := endpoint.MergeReferrers(nil, []imgspecv1.Descriptor{{MediaType: imgspecv1.MediaTypeImageManifest, Digest: gone, Size: 4}})
	require.NoError(t, err)
	tag := endpoint.ReferrersTag(f.Digest("amd64"))
	dst.PutManifest("app", tag, imgspecv1.MediaTypeImageIndex, merged)
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers})
	require.ErrorContains(t, err, gone.String())
	require.ErrorContains(t, err, "what the tag "+tag+" lists already stays")
	assert.Equal(t, digest.FromBytes(merged), dst.Top(tag))
	assert.Empty(t, dst.Top("v1"))
}

// TestReferrersOfMirrors: where registries.conf names a mirror that takes the referrers tag for the
// digest, the original is asked.
func TestReferrersOfMirrors(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	mirror := copytest.RegistryAt(t, registrytest.Start(t, copytest.GitLab()), "app")
	mirror.Push(f, "v1", imagetest.Top)
	original := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	copytest.PushAttached(t, f, original, true)
	o := copytest.Followers()
	o.SourceCtx = copytest.Mirrored(t, e, original.Registry, mirror.Registry)
	dst := copytest.Places["registry"](t)
	r, err := e.Image(t.Context(), dst.Ref("v1"), original.Ref("v1"), o)
	require.NoError(t, err)
	assert.Empty(t, r.Warnings)
	assert.Len(t, r.Attached, 11)
}

// TestLayoutsWithDigestsAsNames: an entry of a layout that is called like a referrers tag is an
// image, or a list of what is in the layout anyway. What refers to what, the manifests say.
func TestLayoutsWithDigestsAsNames(t *testing.T) {
	f := copytest.BuildKitFixture()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("arm64"))
	f.List("referrers", imagetest.Entries("sbom", "s390x"))
	e := copytest.NewEnv(t)
	src := copytest.Places["layout"](t)
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, endpoint.ReferrersTag(f.Digest(imagetest.Top)), imagetest.Top)
	src.Push(f, endpoint.ReferrersTag(f.Digest("amd64")), "amd64")
	src.Push(f, endpoint.ReferrersTag(f.Digest("arm64")), "referrers")
	for to, newDestination := range copytest.AttachablePlaces {
		dst := newDestination(t)
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copytest.Followers())
		require.NoError(t, err, to)
		assert.Empty(t, r.Warnings, to)
		var attached []digest.Digest
		for _, a := range r.Attached {
			attached = append(attached, a.Digest)
		}
		assert.ElementsMatch(t, f.Digests("sbom", "att-amd64", "att-arm64", "att-s390x", "att-ppc64le", "of inner"), attached, to)
		assert.ElementsMatch(t, f.Digests("sbom", "att-arm64"), copytest.ReferrersAt(t, e, dst, f.Digest("arm64")), to)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
	}
}

// TestAttachmentsUnderAPolicy: a registry that accepts sparse lists under a policy, and knows no
// referrers API, takes BuildKit's lists, what is attached, and the referrers tags: attestations may
// be absent, and so may the subjects of what is void.
func TestAttachmentsUnderAPolicy(t *testing.T) {
	f := copytest.BuildKitFixture()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"))
	f.List("flat", imagetest.Entries("att-amd64", "amd64", "att-arm64", "arm64"))
	f.Artifact("of flat", imagetest.ArtifactType(copytest.SignatureType), imagetest.Subject("flat"))
	for name, policy := range map[string]manifest.SparsePolicy{"off": {}, "on": {Enabled: true, RequiredArchitectures: []string{"amd64"}}} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", "flat")
			src.Push(f, "", "sbom")
			src.Push(f, "", "of flat")
			behind := registrytest.NewHandler(registrytest.Options{NoReferrers: true})
			server := httptest.NewServer(sparseregistry.Enforce(behind, sparseregistry.Options{Policy: sparseregistry.Policies{Default: policy}.For}))
			t.Cleanup(server.Close)
			dst, err := docker.ParseReference("//" + strings.TrimPrefix(server.URL, "http://") + "/app:v1")
			require.NoError(t, err)
			o := copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"), SparseManifestListAction: copy.AutoSparseManifestList,
				Referrers: copy.AllReferrers, KeepVoid: true,
			}
			for run := range 2 {
				r, err := e.Image(t.Context(), dst, src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Empty(t, r.Warnings)
				d, _ := behind.Resolve("app", "v1")
				assert.Equal(t, policy.Enabled, d == f.Digest("flat"))
				_, listed := behind.Resolve("app", endpoint.ReferrersTag(f.Digest("amd64")))
				assert.True(t, listed)
				_, _, void := behind.Manifest("app", f.Digest("of flat").String())
				assert.True(t, void)
				if run == 1 {
					assert.Zero(t, r.ManifestsCopied)
				}
			}
		})
	}
}
