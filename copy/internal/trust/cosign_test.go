package trust

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// cosigned has what cosign made of the lists of imagetest.SignedLists.
type cosigned struct {
	t   testing.TB
	reg *registrytest.Registry
}

const cosignedRepo = "app"

// signature returns a manifest as a signature of a list.
func (c cosigned) signature(list digest.Digest, kind original.Kind, ref string) original.Signature {
	content, mediaType, ok := c.reg.Manifest(cosignedRepo, ref)
	require.True(c.t, ok, ref)
	s := original.Signature{
		Of: list, Kind: kind, Blobs: map[digest.Digest][]byte{},
		Document: manifest.Document{Digest: digest.FromBytes(content), MediaType: mediaType, Bytes: content},
	}
	image, err := manifest.ParseImage(content, mediaType)
	require.NoError(c.t, err)
	for b := range image.Blobs() {
		s.Blobs[b.Digest], ok = c.reg.Blob(cosignedRepo, b.Digest)
		require.True(c.t, ok, b.Digest)
	}
	return s
}

// referring returns what refers to a list.
func (c cosigned) referring(list digest.Digest) []original.Signature {
	var all []original.Signature
	for _, d := range c.reg.Manifests(cosignedRepo) {
		content, mediaType, _ := c.reg.Manifest(cosignedRepo, d.String())
		if image, err := manifest.ParseImage(content, mediaType); err == nil && image.Subject == list {
			all = append(all, c.signature(list, original.Referrer, d.String()))
		}
	}
	return all
}

// TestCosign judges what cosign has made.
func TestCosign(t *testing.T) {
	c := cosigned{t, registrytest.Start(t, registrytest.Options{})}
	imagetest.PushSigned(c.reg, cosignedRepo, imagetest.SignedTags, imagetest.SignedBundles)
	f := imagetest.SignedLists()
	v1, v2 := document(f, imagetest.Top), document(f, "v2")
	tag := func(d digest.Digest) original.Signature {
		return c.signature(v1.Digest, original.TagSignature, digesttag.Name(d, digesttag.Signatures))
	}
	attested := c.signature(v1.Digest, original.TagAttestation, digesttag.Name(v1.Digest, digesttag.Attestations))
	bundles := c.referring(v1.Digest)
	require.Len(t, bundles, 2, "a signature and an attestation")

	content, err := os.ReadFile(imagetest.SignedFile("cosign.pub"))
	require.NoError(t, err)
	block, _ := pem.Decode(content)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	verifier := bundleKey{key.(*ecdsa.PublicKey)}
	other := bundleKey{&newStranger(t).key.PublicKey}

	right := sigstoreRepository(t, imagetest.SignedFile("cosign.pub"), imagetest.SignedRepository)
	wrong := sigstoreRepository(t, imagetest.SignedFile("other.pub"), imagetest.SignedRepository)
	elsewhere := sigstoreRepository(t, imagetest.SignedFile("cosign.pub"), "registry.example/team/other")
	ask := func(list manifest.Document, signatures ...original.Signature) Question {
		return Question{Origin: dockerRef(t, "example.com/team/app:v1"), List: list, Signatures: signatures}
	}
	for name, c := range map[string]struct {
		q        Question
		reason   Reason
		accepted int
	}{
		"tag":                          {withPolicy(ask(v1, tag(v1.Digest), attested), judged(t, right)), "", 1},
		"tag and bundles":              {withPolicy(ask(v1, append(bundles, tag(v1.Digest))...), judged(t, right)), "", 1},
		"bundles":                      {withVerifier(ask(v1, bundles...), verifier), "", 1},
		"both, and both are asked":     {withVerifier(withPolicy(ask(v1, append(bundles, tag(v1.Digest))...), judged(t, right)), verifier), "", 2},
		"another key":                  {withPolicy(ask(v1, tag(v1.Digest)), judged(t, wrong)), WrongKey, 0},
		"another repository":           {withPolicy(ask(v1, tag(v1.Digest)), judged(t, elsewhere)), WrongIdentity, 0},
		"the tag of another list":      {withPolicy(ask(v1, tag(v2.Digest)), judged(t, right)), OtherDigest, 0},
		"the bundles of another list":  {withVerifier(ask(v2, bundles...), verifier), OtherDigest, 0},
		"another key's bundles":        {withVerifier(ask(v1, bundles...), other), BundleRefused, 0},
		"bundles and only a policy":    {withPolicy(ask(v1, bundles...), judged(t, right)), BundlesOnly, 0},
		"an attestation at a tag only": {withPolicy(ask(v1, attested), judged(t, right)), AttestationOnly, 0},
	} {
		t.Run(name, func(t *testing.T) {
			verdict, err := Judge(t.Context(), c.q)
			assert.Len(t, verdict.Accepted(), c.accepted)
			if c.reason == "" {
				assert.NoError(t, err)
				return
			}
			refused, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.reason, refused.Reason, "%v", err)
		})
	}
	verdict, err := Judge(t.Context(), withVerifier(ask(v1, bundles...), verifier))
	require.NoError(t, err)
	var formats []Format
	for _, s := range verdict.Signatures {
		formats = append(formats, s.Format)
	}
	assert.ElementsMatch(t, []Format{SigstoreBundle, Attestation}, formats)
}

func withPolicy(q Question, j policy.Judge) Question {
	q.Policy = j
	return q
}

func withVerifier(q Question, v BundleVerifier) Question {
	q.Bundles = v
	return q
}
