package copy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// attestations is the repository elsewhere in these tests.
const attestations = "docker/dhi-app"

// pushElsewhere pushes the SBOMs of copytest.AttachedFixture, with their signatures, and digest
// tags, to a place where their images are not.
func pushElsewhere(t testing.TB, f *imagetest.Fixture, p copytest.RegistryPlace) {
	for _, name := range []string{"amd64", "arm64", "arm/v7", "ppc64le"} {
		copytest.AttachTo(t, p, f, name, "sbom-"+name)
		copytest.AttachTo(t, p, f, "sbom-"+name, "sig-sbom-"+name)
	}
	for _, name := range []string{"amd64", "ppc64le"} {
		p.Push(f, digesttag.Name(f.Digest(name), ".sig"), "cosign-"+name)
	}
}

// TestReferrersFrom carries what another registry, with credentials of its own, has of the images:
// as if the source had it, to every kind of place, directly and by way of a bundle.
func TestReferrersFrom(t *testing.T) {
	f := copytest.AttachedFixture()
	const user, password = "hardened", "secret"
	o := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/arm64"),
		SparseManifestListAction: copy.StripSparseManifestList, Referrers: copy.AllReferrers, DigestTags: true,
	}
	for _, api := range []bool{true, false} {
		for to, newDestination := range copytest.AttachablePlaces {
			for _, bundled := range []bool{false, true} {
				t.Run(fmt.Sprintf("API elsewhere %t, to a %s, by a bundle %t", api, to, bundled), func(t *testing.T) {
					e := copytest.NewEnv(t)
					src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
					elsewhere := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !api, Auth: &registrytest.Auth{
						Bearer: true, Accounts: []registrytest.Account{{Username: user, Password: password}},
					}}), attestations)
					dst := newDestination(t)
					src.Push(f, "v1", imagetest.Top)
					pushElsewhere(t, f, elsewhere)
					own := o
					own.ReferrersFrom = &copy.ReferrersSource{Reference: elsewhere.Ref("whatever"), SystemContext: e.WithAccount(user, password)}
					from, next := src.Ref("v1"), own
					if bundled {
						from = bundleAt(t, "registry.example/app:v1")
						_, err := e.Image(t.Context(), from, src.Ref("v1"), own)
						require.NoError(t, err)
						next = copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
					}
					r, err := e.Image(t.Context(), dst.Ref("v1"), from, next)
					require.NoError(t, err)
					dst.Check(imagetest.Want{Tag: "v1", Digest: r.Plan.Digest, Fixture: f, Absent: []string{"sbom-arm/v7", "sbom-ppc64le", "cosign-ppc64le"}})
					for _, name := range []string{"amd64", "arm64"} {
						assert.Equal(t, f.Digests("sbom-"+name), copytest.ReferrersAt(t, e, dst, f.Digest(name)))
						assert.Equal(t, f.Digests("sig-sbom-"+name), copytest.ReferrersAt(t, e, dst, f.Digest("sbom-"+name)))
						assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("sbom-"+name)))
					}
					assert.Equal(t, f.Digest("cosign-amd64"), dst.Top(digesttag.Name(f.Digest("amd64"), ".sig")))
					assert.Zero(t, src.Count(func(q registrytest.Request) bool { return q.Authorization() != "" }), "the credentials are not for the source")
					assert.Zero(t, elsewhere.Count(func(q registrytest.Request) bool {
						return q.Method != http.MethodGet && q.Method != http.MethodHead && q.Kind != registrytest.KindToken
					}))
					if bundled {
						return
					}
					require.NotNil(t, r.ReferrersSource)
					assert.Positive(t, r.ReferrersSource.Requests)

					v, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(own), ReadBlobs: true})
					require.NoError(t, err)
					assert.Empty(t, v.Violations)
					assert.Equal(t, 5, v.Attached)
					again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), own)
					require.NoError(t, err)
					assert.False(t, again.Written)
					assert.Zero(t, again.BlobsCopied+again.ManifestsCopied)
				})
			}
		}
	}
}

// TestReferrersFromBoth: what the source has itself is copied, too. A tag of both names what both
// name if that can be merged, and what the source's names otherwise.
func TestReferrersFromBoth(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	elsewhere := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), attestations)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "v1", imagetest.Top)
	src.Push(f, "", "sbom-amd64")
	pushElsewhere(t, f, elsewhere)
	elsewhere.Push(f, "", "sig-top")
	arm64 := f.Digest("arm64")
	one := tagged(t, src, arm64, newCosigner(t, "registry.example/one"))
	two := tagged(t, elsewhere, arm64, newCosigner(t, "registry.example/two"))
	sbom := digesttag.Name(arm64, ".sbom")
	src.Push(f, sbom, "sbom-arm64")
	elsewhere.Push(f, sbom, "sbom-amd64")
	o := copy.Options{
		ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true,
		ReferrersFrom: &copy.ReferrersSource{Reference: elsewhere.Ref("latest"), SystemContext: e.Sys},
	}
	for range 2 {
		dst.ResetLog()
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
		assert.Equal(t, f.Digests("sbom-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
		assert.Equal(t, f.Digests("sig-top"), copytest.ReferrersAt(t, e, dst, f.Digest(imagetest.Top)))
		assert.Equal(t, f.Digest("sbom-arm64"), dst.Top(sbom))
		signed, _, ok := dst.Manifest("app", digesttag.Name(arm64, ".sig"))
		require.True(t, ok)
		assert.Equal(t, 2, strings.Count(string(signed), copytest.CosignAnnotation), "signatures of both")
		assert.NotContains(t, []digest.Digest{one, two}, digest.FromBytes(signed))
		assert.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "docker://"+elsewhere.Host()+"/"+attestations+" "+f.Digest("sbom-amd64").String()+", which is left out")
	}
	assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")), "the second run writes nothing")
}

// TestReferrersFromNamesALayer: a referrer elsewhere names a layer of an image, which is the
// source's all the same: where the referrer is, it may be absent.
func TestReferrersFromNamesALayer(t *testing.T) {
	f := imagetest.New()
	f.Layer("base")
	f.Image("amd64", imagetest.Platform("linux/amd64"), imagetest.Layers("base"))
	f.Blob("sbom", copytest.SbomType, []byte("sbom"))
	f.Artifact("referrer", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"), imagetest.Layers("sbom", "base"))
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	elsewhere := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), attestations)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	src.Push(f, "v1", "amd64")
	elsewhere.Push(f, "", "referrer")
	require.True(t, elsewhere.DeleteBlob(attestations, f.Digest("base")))
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		Referrers: copy.AllReferrers, ReferrersFrom: &copy.ReferrersSource{Reference: elsewhere.Ref("latest"), SystemContext: e.Sys},
	})
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
	assert.Equal(t, f.Digests("referrer"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
}

// TestReferrersFromFails: a repository that is not there has nothing; any other failure is an error
// that names its side, and the destination's tag stays what it was.
func TestReferrersFromFails(t *testing.T) {
	f := copytest.AttachedFixture()
	forbidden := func(kind registrytest.Kind, status int) registrytest.Options {
		return registrytest.Options{Script: registrytest.Only(func(req *http.Request) bool {
			return registrytest.Matching(http.MethodGet, kind)(req) && !strings.HasSuffix(req.URL.Path, "/tags/list")
		}, func(int, *http.Request) registrytest.Answer { return registrytest.Fail(status, "DENIED", "no") })}
	}
	for name, c := range map[string]struct {
		options registrytest.Options
		absent  bool // there is no such repository
		err     string
	}{
		"absent":            {absent: true},
		"absent, no API":    {options: registrytest.Options{NoReferrers: true}, absent: true},
		"refused":           {options: forbidden(registrytest.KindReferrers, http.StatusForbidden), err: "referrers source: reading referrers of " + f.Digest("amd64").String()},
		"credentials":       {options: registrytest.Options{Auth: &registrytest.Auth{}}, err: "referrers source: reading "},
		"broken":            {options: forbidden(registrytest.KindReferrers, http.StatusInternalServerError), err: "referrers source: reading referrers of "},
		"refused manifests": {options: forbidden(registrytest.KindManifest, http.StatusForbidden), err: "referrers source: reading "},
		"refused blobs":     {options: forbidden(registrytest.KindBlob, http.StatusForbidden), err: "referrers source: reading blob "},
	} {
		t.Run(name, func(t *testing.T) {
			e := copytest.NewEnv(t)
			src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			elsewhere := copytest.RegistryAt(t, registrytest.Start(t, c.options), attestations)
			dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
			src.Push(f, "v1", "amd64")
			dst.Push(f, "v1", "arm64")
			if !c.absent {
				pushElsewhere(t, f, elsewhere)
			}
			r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
				Referrers: copy.AllReferrers, DigestTags: true,
				ReferrersFrom: &copy.ReferrersSource{Reference: elsewhere.Ref("latest"), SystemContext: e.Sys},
			})
			if c.err == "" {
				require.NoError(t, err)
				assert.Empty(t, r.Attached)
				assert.Empty(t, r.Warnings)
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.err)
			var failed *copy.Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, copy.ReferrersSide, failed.Side)
			dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("arm64"), Fixture: f})
		})
	}
}

// TestReferrersFromProveNothing: an image whose signatures are elsewhere only is not signed.
func TestReferrersFromProveNothing(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	e := copytest.NewAttachmentsEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	elsewhere := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), attestations)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "amd64")
	c := newCosigner(t, "registry.example/app")
	signatures := tagged(t, elsewhere, f.Digest("amd64"), c)
	o := copy.Options{DigestTags: true, ReferrersFrom: &copy.ReferrersSource{Reference: elsewhere.Ref("latest"), SystemContext: e.Sys}}
	e.Policy = c.policy(e)
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	var rejected *copy.RejectedError
	require.ErrorAs(t, err, &rejected)

	tagged(t, src, f.Digest("amd64"), c)
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
	assert.NotEqual(t, signatures, dst.Top(digesttag.Name(f.Digest("amd64"), ".sig")), "both")
}

// TestReferrersFromIsRefused where it would have no effect.
func TestReferrersFromIsRefused(t *testing.T) {
	e := copytest.NewEnv(t)
	place := copytest.Places["registry"](t)
	for name, c := range map[string]struct {
		reference types.ImageReference
		referrers copy.ReferrerAction
		want      string
	}{
		"nothing is asked for": {place.Ref("v1"), copy.NoReferrers, "it needs Referrers or DigestTags"},
		"no reference":         {nil, copy.AllReferrers, "it has to name a repository of a registry, docker://REPOSITORY"},
		"a layout":             {copytest.Places["layout"](t).Ref("v1"), copy.AllReferrers, "it has to name a repository"},
	} {
		_, err := e.Image(t.Context(), place.Ref("v2"), place.Ref("v1"), copy.Options{
			Referrers: c.referrers, ReferrersFrom: &copy.ReferrersSource{Reference: c.reference},
		})
		var invalid *copy.OptionsError
		require.ErrorAs(t, err, &invalid, name)
		assert.Equal(t, []string{"ReferrersFrom"}, invalid.Options)
		assert.ErrorContains(t, err, c.want)
	}
}

// TestReferrersFromOfMany: the images of one Copier have repositories of their own, and a plan that
// is carried out later has the same.
func TestReferrersFromOfMany(t *testing.T) {
	f := copytest.AttachedFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
	elsewhere := registrytest.Start(t, registrytest.Options{})
	var jobs []copy.Job
	for _, name := range []string{"amd64", "arm64"} {
		at := copytest.RegistryAt(t, elsewhere, "docker/dhi-"+name)
		src.Push(f, name, name)
		at.Push(f, "", "sbom-"+name)
		jobs = append(jobs, copy.Job{Source: src.Ref(name), Destination: dst.Ref(name), Options: e.Options(copy.Options{
			Referrers: copy.AllReferrers, ReferrersFrom: &copy.ReferrersSource{Reference: at.Ref("latest"), SystemContext: e.Sys},
		})})
	}
	c := e.Copier(copy.Options{})
	prepared, err := c.Prepare(t.Context(), e.Policy, jobs[0].Destination, jobs[0].Source, jobs[0].Options)
	require.NoError(t, err)
	require.Len(t, prepared.Plan().Attached, 1)
	assert.Equal(t, f.Digest("sbom-amd64"), prepared.Plan().Attached[0].Digest)
	assert.Contains(t, prepared.Plan().String(), ", from the referrers source\n")
	assert.Empty(t, dst.Tags("app"))
	r, err := prepared.Execute(t.Context())
	require.NoError(t, err)
	require.NoError(t, prepared.Close())
	assert.Equal(t, copy.Copied, r.Attached[0].Outcome)
	assert.True(t, r.Attached[0].Elsewhere)
	for _, result := range c.Images(t.Context(), e.Policy, jobs, nil) {
		require.NoError(t, result.Err)
	}
	for _, name := range []string{"amd64", "arm64"} {
		dst.Check(imagetest.Want{Tag: name, Digest: f.Digest(name), Fixture: f})
		assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("sbom-"+name)))
	}
}

// TestReferrersFromEndsAtAnyRequest: wherever the other repository stops answering, or lies about
// its content, the copy fails at its side, and the destination's tag stays what it was.
func TestReferrersFromEndsAtAnyRequest(t *testing.T) {
	f := copytest.AttachedFixture()
	for how, answer := range map[string]registrytest.Answer{
		"refused": registrytest.Fail(http.StatusForbidden, "DENIED", "no"), "closed": registrytest.Close(), "a wrong byte": registrytest.Corrupt(0),
	} {
		for n, ended := 0, false; !ended; n++ {
			t.Run(fmt.Sprintf("%s from %d on", how, n), func(t *testing.T) {
				e := copytest.NewEnv(t)
				src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				var faults atomic.Int32
				elsewhere := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Script: func(i int, _ *http.Request) registrytest.Answer {
					if i < n {
						return registrytest.Answer{}
					}
					faults.Add(1)
					return answer
				}}), attestations)
				dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{Strict: true}), "app")
				src.Push(f, "v1", "amd64")
				dst.Push(f, "v1", "arm64")
				pushElsewhere(t, f, elsewhere)
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
					Referrers: copy.AllReferrers, DigestTags: true,
					ReferrersFrom: &copy.ReferrersSource{Reference: elsewhere.Ref("latest"), SystemContext: e.Sys},
				})
				if ended = faults.Load() == 0; ended {
					require.NoError(t, err)
					dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
					return
				}
				require.Error(t, err)
				var failed *copy.Error
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, copy.ReferrersSide, failed.Side, "%v", err)
				dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("arm64"), Fixture: f})
			})
		}
	}
}
