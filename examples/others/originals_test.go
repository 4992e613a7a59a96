package others

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestOriginals: a stripped list, to which its original is attached, is an image like others for
// other tools: they copy it to each of the servers, from a mirror with and without the referrers
// API, and whether the original is stored as an artifact or as a plain image. Where those that copy
// referrers have copied it, it can be verified.
func TestOriginals(t *testing.T) {
	quay := registrytest.QuayTypes(nil) // which takes plain images only
	for _, s := range servers {
		if s.crashes || s.subjectHeader || s.losesReferrers {
			continue // nothing can be attached there by these tools, or not for certain
		}
		for name, o := range map[string]registrytest.Options{
			"artifacts by the API": {}, "artifacts by the tag": {NoReferrers: true},
			"plain images by the API": {TypePolicy: quay}, "plain images by the tag": {TypePolicy: quay, NoReferrers: true},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				originals(t, newScene(t, &s, fixture()), registrytest.Start(t, o), o.TypePolicy != nil)
			})
		}
	}
}

// originals strips a signed list into a mirror, and lets other tools copy it from there to the
// server.
func originals(t *testing.T, s *scene, mirror *registrytest.Registry, plain bool) {
	imagetest.PushSigned(s.source, repo, imagetest.SignedTags)
	o := options(copy.StripSparseManifestList, "amd64", "s390x")
	o.AttachOriginal = true
	report, err := s.copy(t.Context(), at(t, mirror.Host()), at(t, s.source.Host()), o)
	require.NoError(t, err)
	require.Equal(t, plain, report.Original.Form == copy.PlainForm)
	attached := []digest.Digest{report.Original.Digest}
	for _, signature := range report.Original.Signatures {
		attached = append(attached, signature.Digest)
	}
	want := imagetest.Want{Tag: tag, Digest: report.DestinationDigest, Fixture: imagetest.SignedLists(), Present: []string{"amd64", "s390x"}, Absent: []string{"arm64"}}
	for name, c := range clients {
		there := s.fresh(t)
		require.NoError(t, c.copyAttached(t.Context(), there.host, mirror.Host()), name)
		with := want
		with.Original, with.OriginalSignatures = imagetest.Top, len(report.Original.Signatures)
		for _, violation := range imagetest.Inspect(there, with) {
			t.Errorf("%s: %s", name, violation)
		}
		found, err := c.referrers(t.Context(), there.host, report.DestinationDigest)
		require.NoError(t, err, name)
		assert.Equal(t, sortedDigests(attached), found, name)
		verified, err := there.verify(imagetest.SignedFile("cosign.pub"))
		require.NoError(t, err, name)
		assert.Equal(t, imagetest.SignedLists().Digest(imagetest.Top), verified.Original, name)
		_, err = there.verify(imagetest.SignedFile("other.pub"))
		var unproven *copy.StripVerificationError
		require.ErrorAs(t, err, &unproven, name)
	}
	there := s.fresh(t)
	require.NoError(t, crane.Copy(mirror.Host()+"/"+repo+":"+tag, there.host+"/"+repo+":"+tag, crane.WithContext(t.Context())))
	for _, violation := range imagetest.Inspect(there, want) {
		t.Errorf("crane: %s", violation)
	}
}

// TestOriginalsAreListed: a registry that loses one of two referrers which are pushed at the same
// time (olareg) lists an original and all of its signatures. It loses some in one of a few copies.
func TestOriginalsAreListed(t *testing.T) {
	i := slices.IndexFunc(servers, func(s server) bool { return s.name == "olareg 0.2.2" })
	require.GreaterOrEqual(t, i, 0)
	s := newScene(t, &servers[i], fixture())
	imagetest.PushSigned(s.source, repo, imagetest.SignedTags, imagetest.SignedBundles)
	o := options(copy.StripSparseManifestList, "amd64", "s390x")
	o.AttachOriginal = true
	for range 30 {
		there := s.fresh(t)
		report, err := there.copy(t.Context(), at(t, there.host), at(t, s.source.Host()), o)
		require.NoError(t, err)
		require.Len(t, report.Original.Signatures, 4)
		listed, err := clients["oras-go"].referrers(t.Context(), there.host, report.DestinationDigest)
		require.NoError(t, err)
		require.Len(t, listed, 5)
	}
}

// verify verifies what the tag names at the server, without its source, by a key.
func (s *scene) verify(key string) (*copy.StripVerification, error) {
	s.t.Helper()
	identity, err := signature.NewPRMExactRepository(imagetest.SignedRepository)
	require.NoError(s.t, err)
	required, err := signature.NewPRSigstoreSigned(signature.PRSigstoreSignedWithKeyPath(key), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(s.t, err)
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{required}})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, policy.Destroy()) }()
	origin, err := docker.ParseReference(fmt.Sprintf("//%s:%s", imagetest.SignedRepository, tag))
	require.NoError(s.t, err)
	return s.copier.VerifyStripped(s.t.Context(), at(s.t, s.host), &copy.VerifyStrippedOptions{Origin: origin, Policy: policy, SystemContext: s.sys})
}
