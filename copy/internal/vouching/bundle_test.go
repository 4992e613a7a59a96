package vouching

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newKey returns a key of the kind that cosign makes.
func newKey(t testing.TB) signature.SignerVerifier {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return load(t, private)
}

func load(t testing.TB, private crypto.PrivateKey) signature.SignerVerifier {
	key, err := signature.LoadSignerVerifier(private, crypto.SHA256)
	require.NoError(t, err)
	return key
}

func sign(t testing.TB, s Statement, key signature.Signer) []byte {
	bundle, err := s.Sign(t.Context(), key)
	require.NoError(t, err)
	return bundle
}

// TestBundle holds a bundle against its specification, with keys of all kinds.
func TestBundle(t *testing.T) {
	_, pure, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for name, key := range map[string]signature.SignerVerifier{
		"ECDSA P-256": newKey(t), "ECDSA P-384": load(t, p384), "Ed25519": load(t, pure), "RSA": load(t, large),
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range Statements(facts(), noon) {
				var b struct {
					MediaType            string
					VerificationMaterial map[string]map[string]string
					DSSEEnvelope         json.RawMessage
				}
				require.NoError(t, json.Unmarshal(sign(t, s, key), &b))
				assert.Equal(t, "application/vnd.dev.sigstore.bundle.v0.3+json", b.MediaType)
				public, err := key.PublicKey()
				require.NoError(t, err)
				der, err := x509.MarshalPKIXPublicKey(public)
				require.NoError(t, err)
				sum := sha256.Sum256(der)
				assert.Equal(t, map[string]map[string]string{"publicKey": {"hint": base64.StdEncoding.EncodeToString(sum[:])}},
					b.VerificationMaterial, "nothing but the key")
				var payload []byte
				verifier := dsse.WrapVerifier(key, dsse.WithExpectedPayloadType("application/vnd.in-toto+json"), dsse.WithDecodedPayload(&payload))
				require.NoError(t, verifier.VerifySignature(bytes.NewReader(b.DSSEEnvelope), nil))
				want, err := json.Marshal(s)
				require.NoError(t, err)
				assert.Equal(t, string(want), string(payload))
			}
		})
	}
}

// TestSummaryTooLarge: what would not be read again is not written.
func TestSummaryTooLarge(t *testing.T) {
	f := facts()
	f.Removal.Removed = slices.Repeat(f.Removal.Removed, maxBundle/256)
	_, err := Statements(f, noon)[1].Sign(t.Context(), newKey(t))
	assert.ErrorIs(t, err, errTooLarge)
}

// TestSaidBefore: the same statement, at any time, by one of the keys.
func TestSaidBefore(t *testing.T) {
	ours, previous, foreign := newKey(t), newKey(t), newKey(t)
	now := Statements(facts(), noon)
	for i, before := range Statements(facts(), noon.Add(-time.Hour)) {
		for _, c := range []struct {
			by   signature.Signer
			keys []signature.Verifier
			want bool
		}{
			{ours, []signature.Verifier{ours}, true},
			{previous, []signature.Verifier{ours, previous}, true},
			{previous, []signature.Verifier{ours}, false},
			{foreign, []signature.Verifier{ours, previous}, false},
			{ours, nil, false},
		} {
			assert.Equal(t, c.want, now[i].SaidBy(sign(t, before, c.by), c.keys...))
		}
		assert.False(t, now[1-i].SaidBy(sign(t, before, ours), ours), "the other statement")
	}
}

// TestOtherFacts: everything else but the time makes another summary.
func TestOtherFacts(t *testing.T) {
	key := newKey(t)
	bundle := sign(t, Statements(facts(), noon)[1], key)
	for name, change := range map[string]func(*Facts){
		"stripped":   func(f *Facts) { f.Stripped.Digest = of("a") },
		"repository": func(f *Facts) { f.Repository = "other.example/app" },
		"original":   func(f *Facts) { f.Original = of("a") },
		"removal":    func(f *Facts) { f.Removal = removal(0) },
		"verifier":   func(f *Facts) { f.Verifier = "https://other.example" },
		"policy":     func(f *Facts) { f.Policy.Digest = of("a") },
		"policy URI": func(f *Facts) { f.Policy.URI = "https://other.example/policy.json" },
		"signatures": func(f *Facts) { f.Judged = f.Judged[:1] },
	} {
		f := facts()
		change(&f)
		assert.False(t, Statements(f, noon)[1].SaidBy(bundle, key), name)
	}
}

// TestWhatIsNoBundle: whatever strangers attach is not ours.
func TestWhatIsNoBundle(t *testing.T) {
	key := newKey(t)
	s := Statements(facts(), noon)[0]
	good := sign(t, s, key)
	require.True(t, s.SaidBy(good, key))
	altered := func(old, new string) []byte {
		out := bytes.Replace(good, []byte(old), []byte(new), 1)
		require.NotEqual(t, string(good), string(out))
		return out
	}
	unsigned, err := json.Marshal(s)
	require.NoError(t, err)
	for name, bundle := range map[string][]byte{
		"nothing":               nil,
		"no JSON":               []byte("{"),
		"an empty bundle":       []byte("{}"),
		"a statement":           unsigned,
		"another payload type":  altered("application/vnd.in-toto+json", "application/json"),
		"no signature":          []byte(`{"mediaType":"` + MediaType + `","dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json"}}`),
		"an altered payload":    altered(base64.StdEncoding.EncodeToString([]byte(`{"_type"`))[:10], base64.StdEncoding.EncodeToString([]byte(`{"_typo"`))[:10]),
		"a message's signature": []byte(`{"mediaType":"` + MediaType + `","messageSignature":{"signature":"e30="}}`),
	} {
		assert.False(t, s.SaidBy(bundle, key), name)
	}
	assert.True(t, s.SaidBy(altered(`{"mediaType"`, `{"new":1,"mediaType"`), key), "fields that are not known")
}
