package signing

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

const passphrase = "passphrase"

// A testKey is a private key in a file, as cosign keeps it.
type testKey struct {
	path   string
	public string
}

// publicFile is the public half in a file.
func (k testKey) publicFile(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "key.pub")
	require.NoError(t, os.WriteFile(path, []byte(k.public), 0o600))
	return path
}

// newKey encrypts a private key in the cheapest way that is allowed.
func newKey(t testing.TB, private any, public any) testKey {
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	sealed, err := encrypted.EncryptWithCustomKDFParameters(plain, []byte(passphrase), encrypted.Legacy)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key")
	content := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed})
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return testKey{path, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// newECDSA returns a key of its own for a test.
func newECDSA(t testing.TB) testKey {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return newKey(t, private, private.Public())
}

// keyDir has the file of the key that most tests share.
var keyDir string

var sharedKey = sync.OnceValues(func() (testKey, error) {
	private, public, err := imagetest.KeyPair(passphrase)
	if err != nil {
		return testKey{}, err
	}
	key := testKey{filepath.Join(keyDir, "key"), string(public)}
	return key, os.WriteFile(key.path, private, 0o600)
})

func anyKey(t testing.TB) testKey {
	key, err := sharedKey()
	require.NoError(t, err)
	return key
}

func destination(t testing.TB, name string) types.ImageReference {
	ref, err := docker.ParseReference("//" + name)
	require.NoError(t, err)
	return ref
}

// ring is that of most tests: to open a key takes time.
var ring = &Ring{}

// open opens the keys of o for example.com/app:v1.
func open(t testing.TB, ring *Ring, o Options) *Keys {
	keys, err := ring.Open(o, destination(t, "example.com/app:v1"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, keys.Close()) })
	return keys
}

func (k testKey) options() Options {
	return Options{SignBySigstorePrivateKeyFile: k.path, SignSigstorePrivateKeyPassphrase: []byte(passphrase)}
}

// subject is what a fixture has under a name.
func subject(f *imagetest.Fixture, name string) Subject {
	content, mediaType := f.Document(name)
	return Subject{
		Document: endpoint.NewDocument(f.Digest(name), mediaType, content),
		Config: func(_ context.Context, b endpoint.Blob) ([]byte, error) {
			return f.Content(f.Name(b.Digest)), nil
		},
	}
}

// verify lets upstream's policy engine judge signatures of s.
func verify(t testing.TB, public string, s Subject, identity string, sigs endpoint.Signatures) error {
	exactly, err := signature.NewPRMExactReference(identity)
	require.NoError(t, err)
	signed, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyData([]byte(public)), signature.PRSigstoreSignedWithSignedIdentity(exactly))
	require.NoError(t, err)
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signed}})
	require.NoError(t, err)
	defer func() { require.NoError(t, policy.Destroy()) }()
	_, err = policy.IsRunningImageAllowed(t.Context(), endpoint.Unparsed(destination(t, "example.com/other:v2"), s.Document,
		func(context.Context) (endpoint.Signatures, error) { return sigs, nil }))
	return err
}

// TestSign signs documents of every kind: what is signed are the bytes.
func TestSign(t *testing.T) {
	f := imagetest.New()
	f.Layer("zstd", imagetest.Zstd())
	f.Layer("elsewhere", imagetest.Foreign("http://127.0.0.1:1/layer"))
	f.Blob("encrypted", imgspecv1.MediaTypeImageLayerGzip+"+encrypted", []byte("who knows"))
	f.Image("OCI", imagetest.Platform("linux/amd64"), imagetest.Indent("  "))
	f.Image("no compression of one kind", imagetest.Platform("linux/arm64"), imagetest.Layers("zstd"))
	f.Image("layers elsewhere", imagetest.Platform("linux/s390x"), imagetest.Layers("elsewhere"))
	f.Image("encrypted layers", imagetest.Platform("linux/riscv64"), imagetest.Layers("encrypted"))
	f.Attestation("an attestation", "OCI")
	f.Artifact("an artifact")
	f.List("a list", imagetest.Entries("OCI", "an attestation", "an artifact"), imagetest.Indent("   "))
	f.List("a list of lists", imagetest.Entries("a list", "OCI"))
	f.List("an empty list")
	f.AddCache("a build cache", 2, 100)
	names := []string{
		"OCI", "no compression of one kind", "layers elsewhere", "encrypted layers", "an attestation", "an artifact",
		"a list", "a list of lists", "an empty list", "a build cache",
	}
	dockers := imagetest.DockerList()
	key := anyKey(t)
	for fixture, names := range map[*imagetest.Fixture][]string{f: names, dockers: {imagetest.Top, "amd64"}} {
		for _, name := range names {
			t.Run(name, func(t *testing.T) {
				keys := open(t, ring, key.options())
				s := subject(fixture, name)
				sigs, err := keys.Sign(t.Context(), s, endpoint.NoSignatures())
				require.NoError(t, err)
				require.Equal(t, 1, sigs.Len())
				assert.NoError(t, verify(t, key.public, s, "example.com/app:v1", sigs))
				other := s
				other.Bytes = append([]byte(" "), s.Bytes...)
				assert.Error(t, verify(t, key.public, other, "example.com/app:v1", sigs))
				assert.Error(t, verify(t, key.public, s, "example.com/app:v2", sigs))
			})
		}
	}
}

// TestKindsOfKeys: whatever kind of key signs, it knows its signatures again, and no others.
func TestKindsOfKeys(t *testing.T) {
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	edwards, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	keys := map[string]testKey{
		"P-256": newKey(t, curve, curve.Public()), "P-384": newKey(t, large, large.Public()),
		"RSA": newKey(t, old, old.Public()), "Ed25519": newKey(t, private, edwards),
	}
	s := subject(imagetest.Platforms(1, 1, 10), imagetest.Top)
	made := map[string]endpoint.Signatures{}
	for name, key := range keys {
		sigs, err := open(t, ring, key.options()).Sign(t.Context(), s, endpoint.NoSignatures())
		require.NoError(t, err, name)
		made[name] = sigs
	}
	for name, key := range keys {
		k := open(t, ring, key.options())
		for by, sigs := range made {
			assert.Equal(t, by != name, k.lack(s.Digest, sigs), "%s and a signature by %s", name, by)
			assert.Equal(t, by == name, verify(t, key.public, s, "example.com/app:v1", sigs) == nil)
		}
		all := endpoint.NoSignatures()
		for _, sigs := range made {
			all = all.With(sigs)
		}
		assert.False(t, k.lack(s.Digest, all))
		assert.True(t, k.lack(digest.FromString("another"), all))
		o := key.options()
		o.AlwaysSign = true
		assert.True(t, open(t, ring, o).lack(s.Digest, all))
	}
}

// TestSignsForWhom: a signature counts for the digest and identity that it names.
func TestSignsForWhom(t *testing.T) {
	key := anyKey(t)
	f := imagetest.Platforms(2, 1, 10)
	s := subject(f, imagetest.Top)
	sigs, err := open(t, ring, key.options()).Sign(t.Context(), s, endpoint.NoSignatures())
	require.NoError(t, err)
	for name, lacks := range map[string]bool{"example.com/app:v1": false, "example.com/app:v2": true, "example.com/other:v1": true} {
		o := key.options()
		o.SignIdentity, err = reference.ParseNormalizedNamed(name)
		require.NoError(t, err)
		k := open(t, ring, o)
		assert.Equal(t, lacks, k.lack(s.Digest, sigs), name)
		again, err := k.Sign(t.Context(), s, sigs)
		require.NoError(t, err)
		assert.Equal(t, lacks, again.Len() == 1, name)
		if lacks {
			assert.NoError(t, verify(t, key.public, s, name, again))
		}
	}
}

// TestSignsOnce: each document once for each key, however many ask for it at the same time.
func TestSignsOnce(t *testing.T) {
	one, two := anyKey(t), newECDSA(t)
	by, err := open(t, ring, one.options()).keys[0].open()
	require.NoError(t, err)
	o := two.options()
	o.Signers = []*signer.Signer{by}
	keys := open(t, ring, o)
	s := subject(imagetest.Platforms(1, 1, 10), imagetest.Top)
	results := make(chan endpoint.Signatures, 10)
	for range cap(results) {
		go func() {
			sigs, err := keys.Sign(context.Background(), s, endpoint.NoSignatures())
			assert.NoError(t, err)
			results <- sigs
		}()
	}
	first := <-results
	assert.Equal(t, 2, first.Len())
	for range cap(results) - 1 {
		assert.Same(t, first, <-results)
	}
	assert.Equal(t, 2, keys.Made(s.Digest))
	assert.NoError(t, verify(t, one.public, s, "example.com/app:v1", first))
	assert.NoError(t, verify(t, two.public, s, "example.com/app:v1", first))
}

// TestSignersAreNotKnown: what a Signer has made cannot be told from what anybody else has. What
// was there is left alone if it has a signature; what is new is signed.
func TestSignersAreNotKnown(t *testing.T) {
	anybody := anyKey(t)
	s := subject(imagetest.Platforms(1, 1, 10), imagetest.Top)
	theirs, err := open(t, ring, anybody.options()).Sign(t.Context(), s, endpoint.NoSignatures())
	require.NoError(t, err)
	by, err := open(t, ring, anyKey(t).options()).keys[0].open()
	require.NoError(t, err)
	for written, made := range map[bool]int{false: 0, true: 1} {
		s.New = written
		sigs, err := open(t, ring, Options{Signers: []*signer.Signer{by}}).Sign(t.Context(), s, theirs)
		require.NoError(t, err)
		assert.Equal(t, made, sigs.Len())
	}
	s.New = false
	sigs, err := open(t, ring, Options{Signers: []*signer.Signer{by}}).Sign(t.Context(), s, endpoint.NoSignatures())
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len())
}

// TestRing: a file is decrypted once, as long as neither it nor the passphrase changes.
func TestRing(t *testing.T) {
	ring := &Ring{}
	key := newECDSA(t)
	signerOf := func(o Options) *signer.Signer {
		s, err := open(t, ring, o).keys[0].open()
		require.NoError(t, err)
		return s
	}
	first := signerOf(key.options())
	assert.Same(t, first, signerOf(key.options()))
	other := newECDSA(t)
	content, err := os.ReadFile(other.path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key.path, content, 0o600))
	assert.NotSame(t, first, signerOf(key.options()), "another key")

	wrong := key.options()
	wrong.SignSigstorePrivateKeyPassphrase = []byte("wrong")
	assert.ErrorContains(t, open(t, ring, wrong).Ready(t.Context()), "initializing private key")
	require.NoError(t, open(t, ring, key.options()).Ready(t.Context()))
}

// TestReadyEndsWithTheContext also while a key is being opened.
func TestReadyEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	because := errors.New("because")
	cancel(because)
	keys := &Keys{opened: make(chan struct{})}
	assert.ErrorIs(t, keys.Ready(ctx), because)
	var none *Keys
	assert.NoError(t, none.Ready(ctx))
	assert.NoError(t, none.Close())
	assert.Zero(t, none.Made("sha256:0"))
}

// TestLend lends all Signers, to one at a time.
func TestLend(t *testing.T) {
	keys := open(t, ring, anyKey(t).options())
	signers, done, err := keys.Lend(t.Context())
	require.NoError(t, err)
	assert.Len(t, signers, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keys.Sign(ctx, subject(imagetest.Platforms(1, 1, 10), imagetest.Top), endpoint.NoSignatures())
	assert.ErrorIs(t, err, context.Canceled)
	done()
	_, err = keys.Sign(t.Context(), subject(imagetest.Platforms(1, 1, 10), imagetest.Top), endpoint.NoSignatures())
	assert.NoError(t, err)
}

// TestIdentities refuses what cannot be signed for before anything is opened.
func TestIdentities(t *testing.T) {
	name, err := reference.ParseNormalizedNamed("example.com/app")
	require.NoError(t, err)
	o := anyKey(t).options()
	o.SignIdentity = name
	_, err = (&Ring{}).Open(o, destination(t, "example.com/app:v1"))
	var refused *plan.OptionsError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, []string{"SignIdentity"}, refused.Options)
	keys, err := (&Ring{}).Open(Options{SignIdentity: name}, destination(t, "example.com/app:v1"))
	assert.NoError(t, err, "nothing is signed")
	assert.Nil(t, keys)
}

// TestSigningFails says what went wrong, and leaves the document to be signed again.
func TestSigningFails(t *testing.T) {
	keys := open(t, ring, anyKey(t).options())
	s := subject(imagetest.Platforms(1, 1, 10), "amd64")
	good := s.Config
	broken := errors.New("broken")
	s.Config = func(context.Context, endpoint.Blob) ([]byte, error) { return nil, broken }
	_, err := keys.Sign(t.Context(), s, endpoint.NoSignatures())
	assert.ErrorIs(t, err, broken)
	s.Config = func(context.Context, endpoint.Blob) ([]byte, error) { return []byte("{}"), nil }
	_, err = keys.Sign(t.Context(), s, endpoint.NoSignatures())
	assert.ErrorContains(t, err, "digest", "it is another config")
	s.Config = good
	sigs, err := keys.Sign(t.Context(), s, endpoint.NoSignatures())
	require.NoError(t, err)
	assert.Equal(t, 1, sigs.Len())
}

// TestLargeConfigsAreNotHeld refuses what upstream's copy would not read.
func TestLargeConfigsAreNotHeld(t *testing.T) {
	_, err := readConfig(t.Context(), endpoint.Blob{Digest: "sha256:0", Size: maxConfig + 1}, nil)
	assert.ErrorContains(t, err, "more than")
}

// TestGPG verifies simple signatures, which builds without GPG can.
func TestGPG(t *testing.T) {
	entity, err := openpgp.NewEntity("Signer", "", "signer@example.com", nil)
	require.NoError(t, err)
	var public bytes.Buffer
	require.NoError(t, entity.Serialize(&public))
	gpg, fingerprints, err := signature.NewEphemeralGPGSigningMechanism(public.Bytes())
	require.NoError(t, err)
	defer func() { require.NoError(t, gpg.Close()) }()
	d := digest.FromString("image")
	c := claim{d, "example.com/app:v1"}
	made := simple(t, entity, c)
	id := fingerprints[0]
	for name, want := range map[string]bool{
		id: true, id[len(id)-16:]: true, "signer@example.com": true, "Signer": true,
		"0123456789ABCDEF0123456789ABCDEF01234567": false, "0123456789ABCDEF": false,
	} {
		assert.Equal(t, want, gpgAmong(gpg, name, c, [][]byte{[]byte("no signature"), made}), name)
	}
	assert.False(t, gpgAmong(gpg, id, claim{d, "example.com/app:v2"}, [][]byte{made}))
	assert.False(t, gpgAmong(gpg, id, claim{digest.FromString("other"), "example.com/app:v1"}, [][]byte{made}))
	stranger, err := openpgp.NewEntity("Stranger", "", "signer@example.com", nil)
	require.NoError(t, err)
	assert.False(t, gpgAmong(gpg, id, c, [][]byte{simple(t, stranger, c)}))
}

// simple makes a simple signature (containers-signature(5)).
func simple(t testing.TB, by *openpgp.Entity, c claim) []byte {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]string{"docker-manifest-digest": c.digest.String()},
			"identity": map[string]string{"docker-reference": c.identity},
		},
		"optional": map[string]any{},
	})
	require.NoError(t, err)
	var message bytes.Buffer
	w, err := openpgp.Sign(&message, by, nil, nil)
	require.NoError(t, err)
	_, err = w.Write(payload)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return message.Bytes()
}

// TestRotatedKey: what the keys before this one have signed is not signed again, and nothing else
// counts.
func TestRotatedKey(t *testing.T) {
	now, before, stranger := newECDSA(t), newECDSA(t), newECDSA(t)
	s := subject(imagetest.Platforms(1, 1, 10), imagetest.Top)
	o := now.options()
	o.PreviousPublicKeyFiles = []string{before.publicFile(t)}
	for by, lacks := range map[testKey]bool{now: false, before: false, stranger: true} {
		sigs, err := open(t, ring, by.options()).Sign(t.Context(), s, endpoint.NoSignatures())
		require.NoError(t, err)
		assert.Equal(t, lacks, open(t, ring, o).lack(s.Digest, sigs))
	}

	key, verifiers, err := open(t, ring, o).Sigstore()
	require.NoError(t, err)
	assert.NotNil(t, key)
	assert.Len(t, verifiers, 2)
	key, verifiers, err = open(t, ring, Options{Signers: []*signer.Signer{nil}}).Sigstore()
	require.NoError(t, err)
	assert.Nil(t, key)
	assert.Empty(t, verifiers)
}

// TestPublicKeysAreRead before anything is opened.
func TestPublicKeysAreRead(t *testing.T) {
	key := newECDSA(t)
	for path, reason := range map[string]string{key.path: "is no public key", filepath.Join(t.TempDir(), "absent"): "no such file"} {
		o := key.options()
		o.PreviousPublicKeyFiles = []string{key.publicFile(t), path}
		_, err := (&Ring{}).Open(o, destination(t, "example.com/app:v1"))
		var refused *plan.OptionsError
		require.ErrorAs(t, err, &refused)
		assert.Equal(t, []string{"PreviousPublicKeyFiles"}, refused.Options)
		assert.Contains(t, refused.Reason, reason)
	}
}
