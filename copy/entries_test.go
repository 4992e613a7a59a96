package copy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
				assert.Empty(t, r.Warnings)
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
