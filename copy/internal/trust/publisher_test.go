package trust

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/internal/signing"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/original"
	"github.com/sparsecopy/sparsecopy/internal/policy"
	"github.com/sparsecopy/sparsecopy/internal/turns"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A publisher signs lists, in all formats. The formats of containers/image are signed by its own
// signer.
type publisher struct {
	t       testing.TB
	key     *ecdsa.PrivateKey
	private string // the file of the private key, as cosign keeps it
	public  string // the file of the public key
	gpg     *openpgp.Entity
	keyring string
}

// A privateKey is a key, and its file as cosign keeps it.
type privateKey struct {
	key  *ecdsa.PrivateKey
	file []byte
}

func newKey() (k privateKey, err error) {
	if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return k, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return k, err
	}
	sealed, err := encrypted.EncryptWithCustomKDFParameters(plain, nil, encrypted.Legacy) // the cheapest way
	k.file = pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed})
	return k, err
}

// The keys of all tests: it takes time to make one, to seal it, and to open it.
var (
	publishersKey, strangersKey = sync.OnceValues(newKey), sync.OnceValues(newKey)
	opened                      signing.Ring
	gpgKey                      = sync.OnceValues(func() (*openpgp.Entity, error) {
		return openpgp.NewEntity("Publisher", "", "publisher@example.com", nil)
	})
)

// newPublisher returns whoever signs the lists of a test.
func newPublisher(t testing.TB) *publisher { return publisherWith(t, publishersKey) }

// newStranger returns a publisher with another sigstore key.
func newStranger(t testing.TB) *publisher { return publisherWith(t, strangersKey) }

func publisherWith(t testing.TB, key func() (privateKey, error)) *publisher {
	private, err := key()
	require.NoError(t, err)
	p := &publisher{t: t, key: private.key}
	p.private = p.file("cosign.key", private.file)
	public, err := x509.MarshalPKIXPublicKey(p.key.Public())
	require.NoError(t, err)
	p.public = p.file("cosign.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	p.gpg, err = gpgKey()
	require.NoError(t, err)
	var ring bytes.Buffer
	require.NoError(t, p.gpg.Serialize(&ring))
	p.keyring = p.file("publisher.gpg", ring.Bytes())
	return p
}

func (p *publisher) file(name string, content []byte) string {
	path := filepath.Join(p.t.TempDir(), name)
	require.NoError(p.t, os.WriteFile(path, content, 0o600))
	return path
}

// sign makes a signature of containers/image's signer.
func (p *publisher) sign(list manifest.Document, identity string) endpoint.Signatures {
	as, err := reference.ParseNormalizedNamed(identity)
	require.NoError(p.t, err)
	keys, err := opened.Open(signing.Options{
		SignBySigstorePrivateKeyFile: p.private, SignSigstorePrivateKeyPassphrase: []byte{}, SignIdentity: as,
	}, dockerRef(p.t, identity))
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, keys.Close()) }()
	sigs, err := keys.Sign(p.t.Context(), signing.Subject{Document: list}, endpoint.NoSignatures())
	require.NoError(p.t, err)
	require.Equal(p.t, 1, sigs.Len())
	return sigs
}

// manifestOfSignatures is that of what cosign's tag .sig names, without layers.
var manifestOfSignatures = imgspecv1.Manifest{Config: imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageConfig}}

// layersOf returns the layers of a signature manifest.
func layersOf(t testing.TB, s original.Signature) []digest.Digest {
	image, err := manifest.ParseImage(s.Document.Bytes, s.Document.Type())
	require.NoError(t, err)
	var layers []digest.Digest
	for _, layer := range image.Layers {
		layers = append(layers, layer.Digest)
	}
	return layers
}

// tagged is what cosign's tag .sig names for a list.
func (p *publisher) tagged(list manifest.Document, identity string) original.Signature {
	return tagged(p.t, list, p.sign(list, identity))
}

func tagged(t testing.TB, list manifest.Document, sigs endpoint.Signatures) original.Signature {
	attachable, _ := sigs.Split()
	s := artifact(t, list, manifestOfSignatures, attachable...)
	s.Kind = original.TagSignature
	return s
}

// artifact is a signature manifest that is completed by its blobs.
func artifact(t testing.TB, of manifest.Document, m imgspecv1.Manifest, layers ...endpoint.AttachableSignature) original.Signature {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, imgspecv1.MediaTypeImageManifest
	m.Config.Digest, m.Config.Size = digest.FromString("{}"), 2
	s := original.Signature{Of: of.Digest, Kind: original.Referrer, Blobs: map[digest.Digest][]byte{m.Config.Digest: []byte("{}")}}
	for _, layer := range layers {
		layer.Layer.Digest, layer.Layer.Size = digest.FromBytes(layer.Payload), int64(len(layer.Payload))
		m.Layers = append(m.Layers, layer.Layer)
		s.Blobs[layer.Layer.Digest] = layer.Payload
	}
	content, err := json.Marshal(m)
	require.NoError(t, err)
	s.Document = manifest.Document{Digest: digest.FromBytes(content), MediaType: m.MediaType, Bytes: content}
	return s
}

// referring is an artifact that refers to a list.
func referring(t testing.TB, list manifest.Document, artifactType string, layers ...endpoint.AttachableSignature) original.Signature {
	return artifact(t, list, imgspecv1.Manifest{
		ArtifactType: artifactType, Config: imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeEmptyJSON},
		Subject: &imgspecv1.Descriptor{MediaType: list.MediaType, Digest: list.Digest, Size: int64(len(list.Bytes))},
	}, layers...)
}

// layer is a layer that is no signature.
func layer(mediaType, content string) endpoint.AttachableSignature {
	return endpoint.AttachableSignature{Layer: imgspecv1.Descriptor{MediaType: mediaType}, Payload: []byte(content)}
}

// lookasides are signatures in containers/image's own form.
func lookasides(t testing.TB, list manifest.Document, sigs endpoint.Signatures) []original.Signature {
	blobs, err := endpoint.SignatureBlobs(sigs)
	require.NoError(t, err)
	var out []original.Signature
	for _, blob := range blobs {
		out = append(out, original.Signature{Of: list.Digest, Kind: original.Lookaside, Blob: blob})
	}
	return out
}

// simple makes a simple signature (containers-signature(5)).
func (p *publisher) simple(list manifest.Document, identity string) original.Signature {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]any{"docker-manifest-digest": list.Digest},
			"identity": map[string]any{"docker-reference": identity},
		},
		"optional": map[string]any{},
	})
	require.NoError(p.t, err)
	var message bytes.Buffer
	w, err := openpgp.Sign(&message, p.gpg, nil, nil)
	require.NoError(p.t, err)
	_, err = w.Write(payload)
	require.NoError(p.t, err)
	require.NoError(p.t, w.Close())
	return original.Signature{Of: list.Digest, Kind: original.Lookaside, Blob: message.Bytes()}
}

// statementOf is the statement by which cosign 3 signs a list.
func statementOf(d digest.Digest, predicate string) string {
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		d.Encoded(), predicate)
}

// bundle is a sigstore bundle with a statement.
func (p *publisher) bundle(statement string) []byte {
	sum := sha256.Sum256(preAuthentication(StatementPayload, []byte(statement)))
	sig, err := ecdsa.SignASN1(rand.Reader, p.key, sum[:])
	require.NoError(p.t, err)
	content, err := json.Marshal(map[string]any{
		"mediaType":            bundleType + ".v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "key"}},
		"dsseEnvelope": map[string]any{
			"payload": []byte(statement), "payloadType": StatementPayload, "signatures": []any{map[string]any{"sig": sig}},
		},
	})
	require.NoError(p.t, err)
	return content
}

// referringBundle is a referrer with a bundle.
func referringBundle(t testing.TB, list manifest.Document, bundle []byte) original.Signature {
	return referring(t, list, bundleType+".v0.3+json", layer(bundleType+".v0.3+json", string(bundle)))
}

// signedByBundle is the signature that cosign 3 makes.
func (p *publisher) signedByBundle(list manifest.Document) original.Signature {
	return referringBundle(p.t, list, p.bundle(statementOf(list.Digest, SignaturePredicate)))
}

// preAuthentication is what is signed of an envelope (secure-systems-lab, dsse, "Protocol").
func preAuthentication(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// A bundleKey verifies bundles with a key, as far as the library asks for it.
type bundleKey struct{ key *ecdsa.PublicKey }

func (k bundleKey) VerifyBundle(_ context.Context, bundle []byte, _ digest.Digest) (string, error) {
	var b struct {
		DSSEEnvelope struct {
			Payload     []byte
			PayloadType string
			Signatures  []struct{ Sig string }
		}
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return "", err
	}
	sig, err := base64.StdEncoding.DecodeString(b.DSSEEnvelope.Signatures[0].Sig)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(preAuthentication(b.DSSEEnvelope.PayloadType, b.DSSEEnvelope.Payload))
	if !ecdsa.VerifyASN1(k.key, sum[:], sig) {
		return "", errors.New("the signature is not by the key")
	}
	return "key of the publisher", nil
}

func (p *publisher) verifier() BundleVerifier { return bundleKey{&p.key.PublicKey} }

// sigstoreKey demands a signature by a key, for what a reference names.
func sigstoreKey(t testing.TB, public string) signature.PolicyRequirement {
	r, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(public), signature.PRSigstoreSignedWithSignedIdentity(signature.NewPRMMatchRepoDigestOrExact()))
	require.NoError(t, err)
	return r
}

// sigstoreRepository demands a signature by a key, for a repository whatever a reference names.
func sigstoreRepository(t testing.TB, public, repository string) signature.PolicyRequirement {
	identity, err := signature.NewPRMExactRepository(repository)
	require.NoError(t, err)
	r, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(public), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(t, err)
	return r
}

// gpgKeys demands a simple signature.
func gpgKeys(t testing.TB, keyring string) signature.PolicyRequirement {
	r, err := signature.NewPRSignedByKeyPath(signature.SBKeyTypeGPGKeys, keyring, signature.NewPRMMatchRepoDigestOrExact())
	require.NoError(t, err)
	return r
}

// judged asks a policy that demands something of all that is in docker registries at example.com,
// and rejects everything else.
func judged(t testing.TB, requirements ...signature.PolicyRequirement) policy.Judge {
	c, err := signature.NewPolicyContext(&signature.Policy{
		Default:    signature.PolicyRequirements{signature.NewPRReject()},
		Transports: map[string]signature.PolicyTransportScopes{"docker": {"example.com": requirements}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Destroy()) })
	return policy.Judge{Turns: &turns.Turns[*signature.PolicyContext]{}, Context: c}
}

func dockerRef(t testing.TB, name string) types.ImageReference {
	ref, err := docker.ParseReference("//" + name)
	require.NoError(t, err)
	return ref
}
