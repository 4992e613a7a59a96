package copy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/copy/internal/copytest"
)

// A cosigner makes signatures as cosign does.
type cosigner struct {
	t       testing.TB
	key     *ecdsa.PrivateKey
	public  string // path
	subject string // the repository that signatures name
}

func newCosigner(t testing.TB, repository string) *cosigner {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	public := filepath.Join(t.TempDir(), "cosign.pub")
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	return &cosigner{t, key, public, repository}
}

// sign returns the layer of a signature of d, and what it names.
func (c *cosigner) sign(d digest.Digest) (imgspecv1.Descriptor, []byte) {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]string{"docker-reference": c.subject},
			"image":    map[string]string{"docker-manifest-digest": d.String()},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	require.NoError(c.t, err)
	hash := sha256.Sum256(payload)
	signed, err := ecdsa.SignASN1(rand.Reader, c.key, hash[:])
	require.NoError(c.t, err)
	return imgspecv1.Descriptor{
		MediaType: copytest.SimpleSigning, Digest: digest.FromBytes(payload), Size: int64(len(payload)),
		Annotations: map[string]string{copytest.CosignAnnotation: base64.StdEncoding.EncodeToString(signed)},
	}, payload
}

// bundle returns something of the form of a sigstore bundle about d.
func (c *cosigner) bundle(d digest.Digest) (imgspecv1.Descriptor, []byte) {
	bundle := []byte(`{"mediaType":"` + copytest.SigstoreBundle + `","about":"` + d.String() + `"}`)
	return imgspecv1.Descriptor{MediaType: copytest.SigstoreBundle, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}, bundle
}

// tagged puts the manifest that the tag .sig of d names, with layers that are signatures.
func tagged(t testing.TB, p copytest.RegistryPlace, d digest.Digest, signers ...*cosigner) digest.Digest {
	var config imgspecv1.Image
	config.RootFS.Type = "layers"
	var all []imgspecv1.Descriptor
	for _, s := range signers {
		layer, payload := s.sign(d)
		p.PutBlob(p.Repo, payload)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		all = append(all, layer)
	}
	b, err := json.Marshal(config)
	require.NoError(t, err)
	return copytest.PutArtifact(t, p, copytest.DigestTag(d, digesttag.Signatures), imgspecv1.Manifest{Layers: all}, imgspecv1.MediaTypeImageConfig, b)
}

// bundleAt is an image with that name in a bundle that is not there yet.
func bundleAt(t testing.TB, name string) types.ImageReference {
	ref, err := bundle.Transport.ParseReference(filepath.Join(t.TempDir(), "bundle") + ":" + name)
	require.NoError(t, err)
	return ref
}

// judgesBundle lets a policy that wants the cosigner's signatures judge images in a bundle, one
// that has them and one that has not.
func (c *cosigner) judgesBundle(e *copytest.Env, bundle types.ImageReference, signed, unsigned digest.Digest) {
	judging := *e
	judging.Policy = c.policy(e)
	dst := copytest.RegistryAt(c.t, registrytest.Start(c.t, registrytest.Options{}), "app")
	o := copy.Options{ImageListSelection: copy.CopySpecificImages, Instances: []digest.Digest{signed}}
	_, err := judging.Image(c.t.Context(), dst.Ref("v1"), bundle, o)
	assert.NoError(c.t, err)
	o.Instances = []digest.Digest{unsigned}
	_, err = judging.Image(c.t.Context(), dst.Ref("v1"), bundle, o)
	var rejected *copy.RejectedError
	assert.ErrorAs(c.t, err, &rejected)
}

// policy is one that wants signatures of the cosigner, by the name of the repository that was
// signed.
func (c *cosigner) policy(e *copytest.Env) *signature.PolicyContext {
	identity, err := signature.NewPRMExactRepository(c.subject)
	require.NoError(c.t, err)
	requirement, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(c.public), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(c.t, err)
	return e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
}

// verify lets upstream's policy engine judge d at a place, by the name of the repository that was
// signed.
func (c *cosigner) verify(e *copytest.Env, p copytest.RegistryPlace, d digest.Digest) error {
	policy := c.policy(e)
	src, err := p.Ref(d.String()).NewImageSource(c.t.Context(), e.Sys)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, src.Close()) }()
	_, err = policy.IsRunningImageAllowed(c.t.Context(), image.UnparsedInstance(src, nil))
	return err
}

// TestCosign carries an image with signatures in both of cosign's schemes and an SBOM with
// signatures of its own between registries with and without the referrers API, directly and by way
// of a layout or a bundle, and lets upstream verify it there.
func TestCosign(t *testing.T) {
	const signedAs = "registry.example/team/app"
	f := imagetest.Platforms(2, 1, 100)
	for _, attachments := range []bool{false, true} {
		for from, sourceAPI := range map[string]bool{"with the API": true, "without the API": false} {
			for to, destinationAPI := range map[string]bool{"with the API": true, "without the API": false} {
				for _, by := range []string{"directly", "through a layout", "through a bundle"} {
					name := from + " to " + to + " " + by
					if attachments {
						name += ", attachments known to containers/image"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						e := copytest.NewAttachmentsEnv(t)
						verifying := e.Sys
						src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !sourceAPI}), "app")
						dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{NoReferrers: !destinationAPI}), "app")
						src.Push(f, "v1", imagetest.Top)
						c := newCosigner(t, signedAs)
						top, amd64 := f.Digest(imagetest.Top), f.Digest("amd64")

						want := []digest.Digest{tagged(t, src, top, c), tagged(t, src, amd64, c)}
						layer, payload := c.sign(amd64)
						want = append(want, copytest.Refer(t, src, amd64, copytest.CosignSignature, copytest.CosignSignature, layer, payload))
						sbom := []byte(`{"spdxVersion":"SPDX-2.3"}`)
						sbomDigest := copytest.Refer(t, src, amd64, copytest.SbomType, imgspecv1.MediaTypeEmptyJSON,
							imgspecv1.Descriptor{MediaType: copytest.SbomType, Digest: digest.FromBytes(sbom), Size: int64(len(sbom))}, sbom)
						layer, payload = c.bundle(sbomDigest)
						want = append(want, sbomDigest, tagged(t, src, sbomDigest, c),
							copytest.Refer(t, src, sbomDigest, copytest.SigstoreBundle, imgspecv1.MediaTypeEmptyJSON, layer, payload))

						if !attachments {
							plain := copytest.NewEnv(t)
							plain.Policy, e = e.Policy, plain
						}
						o := copy.Options{ImageListSelection: copy.CopyAllImages, Referrers: copy.AllReferrers, DigestTags: true}
						at := src.Ref("v1")
						if by != "directly" {
							through := copytest.LayoutAt(t, filepath.Join(t.TempDir(), "layout")).Ref("v1")
							if by == "through a bundle" {
								through = bundleAt(t, "registry.example/team/app:v1")
							}
							r, err := e.Image(t.Context(), through, at, o)
							require.NoError(t, err)
							assert.Empty(t, r.Warnings)
							at = through
						}
						if by == "through a bundle" && attachments {
							c.judgesBundle(e, at, amd64, f.Digest("arm64"))
						}
						r, err := e.Image(t.Context(), dst.Ref("v1"), at, o)
						require.NoError(t, err)
						assert.Empty(t, r.Warnings)

						for _, d := range want {
							there, _, _ := src.Manifest("app", d.String())
							assert.Equal(t, there, copytest.ManifestAt(dst, d), "byte for byte")
						}
						for _, d := range []digest.Digest{top, amd64, sbomDigest} {
							named, ok := dst.Resolve("app", copytest.DigestTag(d, digesttag.Signatures))
							assert.True(t, ok)
							assert.Contains(t, want, named, "as the source has it, and in no other form")
						}
						assert.ElementsMatch(t, want[2:4], copytest.ReferrersAt(t, e, dst, amd64))
						assert.Equal(t, want[5:], copytest.ReferrersAt(t, e, dst, sbomDigest))
						e.Sys = verifying
						for _, d := range []digest.Digest{top, amd64} {
							assert.NoError(t, c.verify(e, dst, d))
						}
						assert.Error(t, c.verify(e, dst, f.Digest("arm64")), "it was never signed")

						before := dst.Snapshot("app")
						again, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
						require.NoError(t, err)
						assert.Zero(t, again.ManifestsCopied)
						assert.Equal(t, before, dst.Snapshot("app"))
					})
				}
			}
		}
	}
}

// TestDigestTagsMerge keeps what the destination has signed itself, also when containers/image
// writes signatures there.
func TestDigestTagsMerge(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	amd64 := f.Digest("amd64")
	for _, c := range []struct {
		name        string
		source, own int // numbers of signers, of three, at the source and at the destination
		merged      bool
	}{
		{"the source's alone", 0b001, 0b000, false},
		{"the destination's own, too", 0b001, 0b010, true},
		{"some in common", 0b011, 0b110, true},
		{"all at the destination", 0b001, 0b011, false},
		{"all at the source", 0b011, 0b001, false},
	} {
		for _, attachments := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				e := copytest.NewAttachmentsEnv(t)
				verifying := e.Sys
				if !attachments {
					e.Sys = copytest.NewEnv(t).Sys
				}
				src := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				dst := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				src.Push(f, "v1", imagetest.Top)
				all := []*cosigner{newCosigner(t, "registry.example/a"), newCosigner(t, "registry.example/b"), newCosigner(t, "registry.example/c")}
				first := copytest.RegistryAt(t, registrytest.Start(t, registrytest.Options{}), "app")
				tagged(t, first, amd64, all...)
				ours := subset(t, first, src, amd64, c.source)
				theirs := digest.Digest("")
				if c.own != 0 {
					theirs = subset(t, first, dst, amd64, c.own)
				}
				o := copy.Options{ImageListSelection: copy.CopyAllImages, DigestTags: true}
				_, err := e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				named, _ := dst.Resolve("app", copytest.DigestTag(amd64, digesttag.Signatures))
				assert.Equal(t, c.merged, named != ours && named != theirs)

				_, err = e.Image(t.Context(), dst.Ref("v1"), src.Ref("v1"), o)
				require.NoError(t, err)
				same, _ := dst.Resolve("app", copytest.DigestTag(amd64, digesttag.Signatures))
				assert.Equal(t, named, same, "there is nothing more to merge")
				e.Sys = verifying
				for i, signer := range all {
					if err := signer.verify(e, dst, amd64); (c.source|c.own)&(1<<i) != 0 {
						assert.NoError(t, err, i)
					} else {
						assert.Error(t, err, i)
					}
				}
			})
		}
	}
}

// subset puts some of the signatures of d at one place to another.
func subset(t testing.TB, from, to copytest.RegistryPlace, d digest.Digest, which int) digest.Digest {
	b, _, ok := from.Manifest(from.Repo, copytest.DigestTag(d, digesttag.Signatures))
	require.True(t, ok)
	var m imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(b, &m))
	var config imgspecv1.Image
	var some []imgspecv1.Descriptor
	for i, layer := range m.Layers {
		if which&(1<<i) != 0 {
			content, ok := from.Blob(from.Repo, layer.Digest)
			require.True(t, ok)
			to.PutBlob(to.Repo, content)
			some = append(some, layer)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		}
	}
	configBytes, err := json.Marshal(config)
	require.NoError(t, err)
	return copytest.PutArtifact(t, to, copytest.DigestTag(d, digesttag.Signatures), imgspecv1.Manifest{Layers: some}, imgspecv1.MediaTypeImageConfig, configBytes)
}
