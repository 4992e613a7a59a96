package copy_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// TestDroppedEntriesAreNoReferrers: attestations that state their image as their subject are its
// referrers, too. Those that are dropped stay behind as both, with what is attached to them; an
// SBOM that is no entry follows.
func TestDroppedEntriesAreNoReferrers(t *testing.T) {
	f := copytest.BuildKitFixture()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"))
	f.Artifact("signature", imagetest.ArtifactType(copytest.SignatureType), imagetest.Subject("att-amd64"))
	for from, newSource := range copytest.AttachablePlaces {
		for to, newDestination := range copytest.AttachablePlaces {
			e := copytest.NewEnv(t)
			src := newSource(t)
			src.Push(f, "v1", imagetest.Top)
			copytest.AttachTo(t, src, f, "amd64", "sbom")
			copytest.AttachTo(t, src, f, "amd64", "att-amd64")
			copytest.AttachTo(t, src, f, "att-amd64", "signature")
			dst := newDestination(t)
			o := copy.Options{
				ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64"),
				SparseManifestListAction: copy.StripSparseManifestList, Attestations: copy.DropAttestations, Referrers: copy.AllReferrers,
			}
			for run := range 2 {
				r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				assert.Equal(t, []string{"entries without a platform are left behind (1)"}, r.Warnings, "of inner")
				assert.Equal(t, f.Digests("sbom"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), "%s to %s", from, to)
				for _, left := range []string{"att-amd64", "signature"} {
					assert.Nil(t, copytest.ManifestAt(dst, f.Digest(left)), "%s to %s: %s", from, to, left)
				}
				assert.Equal(t, run == 0, r.Written)
				dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f})
			}

			o.Attestations = copy.DefaultAttestations
			_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
			require.NoError(t, err)
			assert.ElementsMatch(t, f.Digests("sbom", "att-amd64"), copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), "%s to %s", from, to)
			assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("signature")), "%s to %s", from, to)
		}
	}
}

// TestDroppedEntriesOfTheSystemsImage: where one image is copied out of a list, its attestations
// are referrers and nothing else. They are dropped all the same.
func TestDroppedEntriesOfTheSystemsImage(t *testing.T) {
	f := copytest.BuildKitFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.Places["registry"](t)
	o := copy.Options{Referrers: copy.AllReferrers, Attestations: copy.DropAttestations}
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.Nil(t, copytest.ManifestAt(dst, f.Digest("att-amd64")))
	o.Attestations = copy.DefaultAttestations
	_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
	require.NoError(t, err)
	assert.NotNil(t, copytest.ManifestAt(dst, f.Digest("att-amd64")))
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("amd64"), Fixture: f})
}

// TestEntriesAsReferrers: attestations that travel as entries are known as referrers of their
// images, whoever lists them at the source, and whether or not referrers are copied. A registry
// without the API gets referrers tags, what these list already stays, and the second run writes
// nothing.
func TestEntriesAsReferrers(t *testing.T) {
	f := copytest.BuildKitFixture()
	f.Artifact("sbom", imagetest.ArtifactType(copytest.SbomType), imagetest.Subject("amd64"))
	all := copy.Options{ImageListSelection: copy.CopyAllImages, EntriesAsReferrers: true}
	two := copy.Options{
		ImageListSelection: copy.CopySpecificImages, InstancePlatforms: copytest.Platforms("linux/amd64", "linux/ppc64le"),
		SparseManifestListAction: copy.StripSparseManifestList, EntriesAsReferrers: true, Referrers: copy.AllReferrers,
	}
	allOf := map[string]string{"att-amd64": "amd64", "att-arm64": "arm64", "att-s390x": "s390x", "att-ppc64le": "ppc64le", "of inner": "inner"}
	for name, c := range map[string]struct {
		o       copy.Options
		entries map[string]string // with their subjects
	}{
		"all":     {all, allOf},
		"two":     {two, map[string]string{"att-amd64": "amd64", "att-ppc64le": "ppc64le"}},
		"dropped": {copy.Options{ImageListSelection: copy.CopyAllImages, SparseManifestListAction: copy.StripSparseManifestList, Attestations: copy.DropAttestations, EntriesAsReferrers: true}, nil},
		"not set": {copy.Options{ImageListSelection: copy.CopyAllImages}, nil},
	} {
		for from, newSource := range copytest.AttachablePlaces {
			for to, o := range map[string]registrytest.Options{"no API": {NoReferrers: true, Strict: true}, "API": {Strict: true}} {
				e := copytest.NewEnv(t)
				src := newSource(t)
				src.Push(f, "v1", imagetest.Top)
				dst := copytest.RegistryAt(t, registrytest.Start(t, o), "app")
				copytest.AttachTo(t, dst, f, "amd64", "sbom")
				before := dst.Top(endpoint.ReferrersTag(f.Digest("amd64")))
				for run := range 2 {
					dst.ResetLog()
					r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), c.o)
					require.NoError(t, err, "%s, %s to %s", name, from, to)
					assert.Equal(t, name == "two", len(r.Warnings) > 0, "of inner, which has no platform: %v", r.Warnings)
					if run == 1 {
						assert.Zero(t, dst.Count(func(q registrytest.Request) bool { return q.Method == http.MethodPut || q.Method == http.MethodPost }), "%s, %s to %s", name, from, to)
					}
					dst.Check(imagetest.Want{Tag: "v1", Digest: r.DestinationDigest, Fixture: f})
				}
				var tags []string
				for entry, subject := range c.entries {
					tags = append(tags, endpoint.ReferrersTag(f.Digest(subject)))
					assert.Contains(t, copytest.ReferrersAt(t, e, dst, f.Digest(subject)), f.Digest(entry), "%s, %s to %s: %s", name, from, to, entry)
				}
				assert.Contains(t, copytest.ReferrersAt(t, e, dst, f.Digest("amd64")), f.Digest("sbom"))
				if o.NoReferrers {
					tags = append(tags, endpoint.ReferrersTag(f.Digest("amd64")))
					slices.Sort(tags)
					assert.Equal(t, append(slices.Compact(tags), "v1"), dst.Tags("app"), "%s, %s to %s", name, from, to)
				} else {
					assert.Equal(t, before, dst.Top(endpoint.ReferrersTag(f.Digest("amd64"))), "the API lists it")
				}
			}
		}
	}
}

// TestEntriesAsReferrersAgain: what a copy before has not made known, this one does, and Verify
// misses it. A tag that is no list of referrers is left alone.
func TestEntriesAsReferrersAgain(t *testing.T) {
	f := copytest.BuildKitFixture()
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", imagetest.Top)
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{ImageListSelection: copy.CopyAllImages})
	require.NoError(t, err)
	tag := endpoint.ReferrersTag(f.Digest("arm64"))
	dst.Push(f, tag, "arm64")
	o := copy.Options{ImageListSelection: copy.CopyAllImages, EntriesAsReferrers: true}
	verified, err := copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
	require.NoError(t, err)
	assert.Len(t, verified.Violations, 4) // att-arm64 cannot be listed
	for range 2 {
		r, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
		require.NoError(t, err)
		assert.Len(t, r.Warnings, 1)
		assert.Contains(t, strings.Join(r.Warnings, ""), tag+" names it itself")
		assert.False(t, r.Written)
		for entry, subject := range map[string]string{"att-amd64": "amd64", "att-s390x": "s390x", "att-ppc64le": "ppc64le", "of inner": "inner"} {
			assert.Equal(t, f.Digests(entry), copytest.ReferrersAt(t, e, dst, f.Digest(subject)))
		}
		assert.Equal(t, f.Digest("arm64"), dst.Top(tag))
	}
	verified, err = copy.Verify(t.Context(), e.Policy, dst.Ref("v1"), src.Ref("v1"), &copy.VerifyOptions{Options: e.Options(o)})
	require.NoError(t, err)
	assert.Empty(t, verified.Violations)
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest(imagetest.Top), Fixture: f})
}

// TestEntriesOfOtherSubjects: a subject that is not copied gets no referrers tag. What a sparse
// source lacks states nothing.
func TestEntriesOfOtherSubjects(t *testing.T) {
	f := copytest.BuildKitFixture()
	f.Artifact("wiped", imagetest.ArtifactType(copytest.AttestationType), imagetest.Subject("ppc64le"), imagetest.Config(imgspecv1.MediaTypeEmptyJSON, []byte("{}")))
	f.List("converted", imagetest.Entries("amd64", "wiped", "att-amd64", "s390x"))
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	src.Push(f, "v1", "converted")
	src.DeleteManifest("app", f.Digest("s390x"))
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true}), "app")
	_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), copy.Options{
		ImageListSelection: copy.CopyAllImages, EntriesAsReferrers: true, MissingInstances: copy.SkipMissing,
	})
	require.NoError(t, err)
	assert.Equal(t, []string{endpoint.ReferrersTag(f.Digest("amd64")), "v1"}, dst.Tags("app"))
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("converted"), Fixture: f, Absent: []string{"s390x"}})
}

// TestEntriesAsReferrersTakeTurns: lists that share an image, each with an attestation of its own,
// are copied at the same time. The referrers tag of the image lists all of them.
func TestEntriesAsReferrersTakeTurns(t *testing.T) {
	const lists = 12
	f := imagetest.New()
	f.Image("amd64", imagetest.Platform("linux/amd64"))
	e := copytest.NewEnv(t)
	src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
	dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: true, Strict: true}), "app")
	var jobs []copy.Job
	var attestations []digest.Digest
	for i := range lists {
		name, tag := fmt.Sprint("attestation ", i), fmt.Sprint("v", i)
		f.Attestation(name, "amd64", imagetest.Subject("amd64"), imagetest.Annotation("build", tag))
		f.List(tag, imagetest.Entries("amd64", name))
		src.Push(f, tag, tag)
		jobs = append(jobs, copy.Job{Destination: dst.Ref(tag), Source: src.Ref(tag)})
		attestations = append(attestations, f.Digest(name))
	}
	o := e.Options(copy.Options{ImageListSelection: copy.CopyAllImages, EntriesAsReferrers: true})
	for run := range 2 {
		dst.ResetLog()
		for _, r := range copy.Images(t.Context(), e.Policy, jobs, &copy.ImagesOptions{Options: o}) {
			require.NoError(t, r.Err)
		}
		assert.ElementsMatch(t, attestations, copytest.ReferrersAt(t, e, dst, f.Digest("amd64")))
		if run == 1 {
			assert.Zero(t, dst.Count(registrytest.Is(http.MethodPut, "")), "the second run writes nothing")
		}
	}
	dst.Check(imagetest.Want{Tag: "v1", Digest: f.Digest("v1"), Fixture: f})
}
