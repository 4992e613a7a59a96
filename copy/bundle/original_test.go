package bundle_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestOriginalsTravel: a stripped list can be verified in a bundle, and wherever that is loaded,
// with its source gone: its original and the signatures of that travel along.
func TestOriginalsTravel(t *testing.T) {
	for _, file := range []string{"bundle", "bundle.tar"} {
		c := newCarrier(t, registrytest.Options{})
		imagetest.PushSigned(c.src, "app", imagetest.SignedTags, imagetest.SignedBundles)
		o := some(copy.StripSparseManifestList)
		o.AttachOriginal = true
		path, summary := c.create(file, "", o, "app:v1")
		c.src.Close()
		ofTheList := 0
		for _, a := range summary.Record.Attached {
			if a.Subject == summary.Record.Images[0].Digest && a.Tag == "" {
				ofTheList++
			}
		}
		assert.Equal(t, 5, ofTheList, "the original, and four signatures")

		b := c.open(path, nil)
		inside, err := b.Reference(c.src.Host() + "/app:v1")
		require.NoError(t, err)
		c.verified(inside)
		const simpleSigning, bundles = "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dev.sigstore.bundle.v0.3+json"
		for name, o := range map[string]registrytest.Options{
			"strict": {Strict: true}, "no referrers API": {NoReferrers: true},
			"GitLab": {NoReferrers: true, DigestTags: true, TypePolicy: registrytest.GitLabTypes(simpleSigning, bundles)},
		} {
			dst := registrytest.Start(t, o)
			for run := range 2 {
				r, err := c.load(b, dst, "app:v1", all())
				require.NoError(t, err, name)
				assert.Equal(t, run == 0, r.Written, name)
				assert.Equal(t, summary.Record.Images[0].Digest, r.DestinationDigest)
				for _, a := range r.Attached {
					if a.Subject == r.DestinationDigest && run == 0 {
						assert.Equal(t, copy.Copied, a.Outcome, name)
					}
				}
			}
			c.verified(c.ref(dst, "app:v1"))
			imagetest.CheckRegistry(t, dst, "app", imagetest.Want{
				Tag: "v1", Fixture: imagetest.SignedLists(), Original: imagetest.Top, OriginalSignatures: 4, Present: []string{"amd64"}, Absent: []string{"arm64"},
			})
		}
	}
}

// verified requires that what ref names is what its publisher signed, with entries taken out.
func (c *carrier) verified(ref types.ImageReference) {
	c.Helper()
	identity, err := signature.NewPRMExactRepository(imagetest.SignedRepository)
	require.NoError(c, err)
	for key, proven := range map[string]bool{"cosign.pub": true, "other.pub": false} {
		required, err := signature.NewPRSigstoreSigned(
			signature.PRSigstoreSignedWithKeyPath(imagetest.SignedFile(key)), signature.PRSigstoreSignedWithSignedIdentity(identity))
		require.NoError(c, err)
		policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{required}})
		require.NoError(c, err)
		origin, err := docker.ParseReference("//" + imagetest.SignedRepository + ":v1")
		require.NoError(c, err)
		v, err := c.copier.VerifyStripped(c.Context(), ref, &copy.VerifyStrippedOptions{Origin: origin, Policy: policy, SystemContext: c.sys})
		assert.Equal(c, proven, err == nil, "%v", err)
		assert.Equal(c, proven, v.Proven)
		require.NoError(c, policy.Destroy())
	}
}
