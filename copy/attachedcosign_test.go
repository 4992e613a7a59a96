package copy

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
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/internal/digesttag"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

var digestTag = digesttag.Name

// The media types of cosign (its SIGNATURE_SPEC.md, and the OCI 1.1 mode of "cosign sign").
const (
	simpleSigning    = "application/vnd.dev.cosign.simplesigning.v1+json"
	cosignSignature  = "application/vnd.dev.cosign.artifact.sig.v1+json"
	sigstoreBundle   = "application/vnd.dev.sigstore.bundle.v0.3+json"
	cosignAnnotation = "dev.cosignproject.cosign/signature"
)

// newAttachmentsEnv is newEnv with sigstore attachments.
func newAttachmentsEnv(t testing.TB) *env {
	e := newEnv(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.sys.RegistriesDirPath, "default.yaml"), []byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	return e
}

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
		MediaType: simpleSigning, Digest: digest.FromBytes(payload), Size: int64(len(payload)),
		Annotations: map[string]string{cosignAnnotation: base64.StdEncoding.EncodeToString(signed)},
	}, payload
}

// bundle returns something of the form of a sigstore bundle about d.
func (c *cosigner) bundle(d digest.Digest) (imgspecv1.Descriptor, []byte) {
	bundle := []byte(`{"mediaType":"` + sigstoreBundle + `","about":"` + d.String() + `"}`)
	return imgspecv1.Descriptor{MediaType: sigstoreBundle, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}, bundle
}

// tagged puts the manifest that the tag .sig of d names, with layers that are signatures.
func tagged(t testing.TB, p registryPlace, d digest.Digest, signers ...*cosigner) digest.Digest {
	var config imgspecv1.Image
	config.RootFS.Type = "layers"
	var all []imgspecv1.Descriptor
	for _, s := range signers {
		layer, payload := s.sign(d)
		p.PutBlob(p.repo, payload)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		all = append(all, layer)
	}
	b, err := json.Marshal(config)
	require.NoError(t, err)
	return putArtifact(t, p, digestTag(d, digesttag.Signatures), imgspecv1.Manifest{Layers: all}, imgspecv1.MediaTypeImageConfig, b)
}

// putArtifact puts a manifest with a config, by its digest if tag is "".
func putArtifact(t testing.TB, p registryPlace, tag string, m imgspecv1.Manifest, configType string, config []byte) digest.Digest {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, imgspecv1.MediaTypeImageManifest
	m.Config = imgspecv1.Descriptor{MediaType: configType, Digest: p.PutBlob(p.repo, config), Size: int64(len(config))}
	b, err := json.Marshal(m)
	require.NoError(t, err)
	d := digest.FromBytes(b)
	if tag == "" {
		tag = d.String()
	}
	p.PutManifest(p.repo, tag, m.MediaType, b)
	return d
}

// refer puts a referrer of subject, and lists it under the referrers tag for registries without the API.
func refer(t testing.TB, p registryPlace, subject digest.Digest, artifactType, configType string, layer imgspecv1.Descriptor, content []byte) digest.Digest {
	p.PutBlob(p.repo, content)
	subjectBytes, mediaType, ok := p.Manifest(p.repo, subject.String())
	require.True(t, ok)
	d := putArtifact(t, p, "", imgspecv1.Manifest{
		ArtifactType: artifactType, Layers: []imgspecv1.Descriptor{layer},
		Subject: &imgspecv1.Descriptor{MediaType: mediaType, Digest: subject, Size: int64(len(subjectBytes))},
	}, configType, []byte("{}"))
	b, _, _ := p.Manifest(p.repo, d.String())
	tag := endpoint.ReferrersTag(subject)
	old, _, _ := p.Manifest(p.repo, tag)
	merged, _, err := endpoint.MergeReferrers(old, []imgspecv1.Descriptor{
		{MediaType: imgspecv1.MediaTypeImageManifest, Digest: d, Size: int64(len(b)), ArtifactType: artifactType},
	})
	require.NoError(t, err)
	p.PutManifest(p.repo, tag, imgspecv1.MediaTypeImageIndex, merged)
	return d
}

// verify lets upstream's policy engine judge d at a place, by the name of the repository that was signed.
func (c *cosigner) verify(e *env, p registryPlace, d digest.Digest) error {
	identity, err := signature.NewPRMExactRepository(c.subject)
	require.NoError(c.t, err)
	requirement, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(c.public), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(c.t, err)
	policy := e.newPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
	src, err := p.ref(d.String()).NewImageSource(c.t.Context(), e.sys)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, src.Close()) }()
	_, err = policy.IsRunningImageAllowed(c.t.Context(), image.UnparsedInstance(src, nil))
	return err
}

// TestCosign carries an image with signatures in both of cosign's schemes and an SBOM with signatures of its own between registries
// with and without the referrers API, directly and by way of a layout, and lets upstream verify it there.
func TestCosign(t *testing.T) {
	const signedAs = "registry.example/team/app"
	f := imagetest.Platforms(2, 1, 100)
	for _, attachments := range []bool{false, true} {
		for from, sourceAPI := range map[string]bool{"with the API": true, "without the API": false} {
			for to, destinationAPI := range map[string]bool{"with the API": true, "without the API": false} {
				for by, through := range map[string]bool{"directly": false, "through a layout": true} {
					name := from + " to " + to + " " + by
					if attachments {
						name += ", attachments known to containers/image"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						e := newAttachmentsEnv(t)
						verifying := e.sys
						src := registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: !sourceAPI}), "app"}
						dst := registryPlace{t, registrytest.Start(t, registrytest.Options{NoReferrers: !destinationAPI}), "app"}
						src.push(f, "v1", imagetest.Top)
						c := newCosigner(t, signedAs)
						top, amd64 := f.Digest(imagetest.Top), f.Digest("amd64")

						want := []digest.Digest{tagged(t, src, top, c), tagged(t, src, amd64, c)}
						layer, payload := c.sign(amd64)
						want = append(want, refer(t, src, amd64, cosignSignature, cosignSignature, layer, payload))
						sbom := []byte(`{"spdxVersion":"SPDX-2.3"}`)
						sbomDigest := refer(t, src, amd64, sbomType, imgspecv1.MediaTypeEmptyJSON,
							imgspecv1.Descriptor{MediaType: sbomType, Digest: digest.FromBytes(sbom), Size: int64(len(sbom))}, sbom)
						layer, payload = c.bundle(sbomDigest)
						want = append(want, sbomDigest, tagged(t, src, sbomDigest, c),
							refer(t, src, sbomDigest, sigstoreBundle, imgspecv1.MediaTypeEmptyJSON, layer, payload))

						if !attachments {
							plain := newEnv(t)
							plain.policy, e = e.policy, plain
						}
						o := Options{ImageListSelection: CopyAllImages, Referrers: AllReferrers, DigestTags: true}
						at := place(src)
						if through {
							layout := layoutPlace{t, filepath.Join(t.TempDir(), "layout")}
							r, err := e.image(t.Context(), layout.ref("v1"), at.ref("v1"), o)
							require.NoError(t, err)
							assert.Empty(t, r.Warnings)
							at = layout
						}
						r, err := e.image(t.Context(), dst.ref("v1"), at.ref("v1"), o)
						require.NoError(t, err)
						assert.Empty(t, r.Warnings)

						for _, d := range want {
							there, _, _ := src.Manifest("app", d.String())
							assert.Equal(t, there, manifestAt(dst, d), "byte for byte")
						}
						for _, d := range []digest.Digest{top, amd64, sbomDigest} {
							named, ok := dst.Resolve("app", digestTag(d, digesttag.Signatures))
							assert.True(t, ok)
							assert.Contains(t, want, named, "as the source has it, and in no other form")
						}
						assert.ElementsMatch(t, want[2:4], referrersAt(t, e, dst, amd64))
						assert.Equal(t, want[5:], referrersAt(t, e, dst, sbomDigest))
						e.sys = verifying
						for _, d := range []digest.Digest{top, amd64} {
							assert.NoError(t, c.verify(e, dst, d))
						}
						assert.Error(t, c.verify(e, dst, f.Digest("arm64")), "it was never signed")

						before := dst.Snapshot("app")
						again, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
						require.NoError(t, err)
						assert.Zero(t, again.ManifestsCopied)
						assert.Equal(t, before, dst.Snapshot("app"))
					})
				}
			}
		}
	}
}

// TestDigestTagsMerge keeps what the destination has signed itself, also when containers/image writes signatures there.
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
				e := newAttachmentsEnv(t)
				verifying := e.sys
				if !attachments {
					e.sys = newEnv(t).sys
				}
				src := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
				dst := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
				src.push(f, "v1", imagetest.Top)
				all := []*cosigner{newCosigner(t, "registry.example/a"), newCosigner(t, "registry.example/b"), newCosigner(t, "registry.example/c")}
				first := registryPlace{t, registrytest.Start(t, registrytest.Options{}), "app"}
				tagged(t, first, amd64, all...)
				ours := subset(t, first, src, amd64, c.source)
				theirs := digest.Digest("")
				if c.own != 0 {
					theirs = subset(t, first, dst, amd64, c.own)
				}
				o := Options{ImageListSelection: CopyAllImages, DigestTags: true}
				_, err := e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				named, _ := dst.Resolve("app", digestTag(amd64, digesttag.Signatures))
				assert.Equal(t, c.merged, named != ours && named != theirs)

				_, err = e.image(t.Context(), dst.ref("v1"), src.ref("v1"), o)
				require.NoError(t, err)
				same, _ := dst.Resolve("app", digestTag(amd64, digesttag.Signatures))
				assert.Equal(t, named, same, "there is nothing more to merge")
				e.sys = verifying
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
func subset(t testing.TB, from, to registryPlace, d digest.Digest, which int) digest.Digest {
	b, _, ok := from.Manifest(from.repo, digestTag(d, digesttag.Signatures))
	require.True(t, ok)
	var m imgspecv1.Manifest
	require.NoError(t, json.Unmarshal(b, &m))
	var config imgspecv1.Image
	var some []imgspecv1.Descriptor
	for i, layer := range m.Layers {
		if which&(1<<i) != 0 {
			content, ok := from.Blob(from.repo, layer.Digest)
			require.True(t, ok)
			to.PutBlob(to.repo, content)
			some = append(some, layer)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		}
	}
	configBytes, err := json.Marshal(config)
	require.NoError(t, err)
	return putArtifact(t, to, digestTag(d, digesttag.Signatures), imgspecv1.Manifest{Layers: some}, imgspecv1.MediaTypeImageConfig, configBytes)
}
