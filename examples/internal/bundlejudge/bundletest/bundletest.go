// Package bundletest makes sigstore bundles for tests: with keys, and with certificates of an
// authority and entries in a log that exist in memory only.
package bundletest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	sigdsse "github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
)

const mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

const statementType = "application/vnd.in-toto+json"

// Statement is an in-toto statement about subjects.
func Statement(t testing.TB, predicateType string, subjects ...digest.Digest) []byte {
	t.Helper()
	type subject struct {
		Digest map[string]string `json:"digest"`
	}
	named := make([]subject, len(subjects))
	for i, d := range subjects {
		named[i] = subject{map[string]string{d.Algorithm().String(): d.Encoded()}}
	}
	content, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": predicateType, "subject": named, "predicate": map[string]any{},
	})
	require.NoError(t, err)
	return content
}

// A Key signs.
type Key struct {
	private *ecdsa.PrivateKey
	signer  signature.Signer
}

// NewKey returns a new key on a curve, whose signatures are of the hash that goes with it.
func NewKey(t testing.TB, curve elliptic.Curve) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	signer, err := signature.LoadDefaultSigner(private)
	require.NoError(t, err)
	return &Key{private, signer}
}

// Public is the public half in PEM.
func (k *Key) Public(t testing.TB) []byte {
	t.Helper()
	content, err := cryptoutils.MarshalPublicKeyToPEM(k.private.Public())
	require.NoError(t, err)
	return content
}

// Signs returns a bundle with a statement.
func (k *Key) Signs(t testing.TB, statement []byte) []byte {
	t.Helper()
	signer, err := dsse.NewEnvelopeSigner(&sigdsse.SignerAdapter{SignatureSigner: k.signer, Pub: k.private.Public()})
	require.NoError(t, err)
	envelope, err := signer.SignPayload(context.Background(), statementType, statement)
	require.NoError(t, err)
	return written(t, &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: hinted(), Content: enveloped(t, envelope)})
}

// SignsBytes returns a bundle with a signature of content, SHA-256, and no statement.
func (k *Key) SignsBytes(t testing.TB, content []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(content)
	made, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	require.NoError(t, err)
	return written(t, &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: hinted(), Content: signed(sum[:], made)})
}

// hinted is the material of a bundle that a key has made.
func hinted() *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
		PublicKey: &protocommon.PublicKeyIdentifier{Hint: "any"},
	}}
}

func enveloped(t testing.TB, envelope *dsse.Envelope) *protobundle.Bundle_DsseEnvelope {
	t.Helper()
	payload, err := envelope.DecodeB64Payload()
	require.NoError(t, err)
	all := &protodsse.Envelope{PayloadType: envelope.PayloadType, Payload: payload}
	for _, s := range envelope.Signatures {
		all.Signatures = append(all.Signatures, &protodsse.Signature{Sig: decoded(t, s.Sig), Keyid: s.KeyID})
	}
	return &protobundle.Bundle_DsseEnvelope{DsseEnvelope: all}
}

func decoded(t testing.TB, text string) []byte {
	t.Helper()
	quoted, err := json.Marshal(text)
	require.NoError(t, err)
	var content []byte
	require.NoError(t, json.Unmarshal(quoted, &content))
	return content
}

func signed(sum, made []byte) *protobundle.Bundle_MessageSignature {
	return &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum}, Signature: made,
	}}
}

func written(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	content, err := protojson.Marshal(b)
	require.NoError(t, err)
	return content
}

// An Authority gives certificates to whoever asks, and has a log and an authority for timestamps.
type Authority struct{ all *ca.VirtualSigstore }

// NewAuthority returns a new one.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	all, err := ca.NewVirtualSigstore()
	require.NoError(t, err)
	return &Authority{all}
}

// Parts are those of a trusted root beside the authority for certificates.
type Parts struct{ Log, Timestamps, CertificateLog bool }

// Root is the trusted root of an authority, as a file, with some of its parts.
func (a *Authority) Root(t testing.TB, parts Parts) []byte {
	t.Helper()
	var (
		logs, certificates map[string]*root.TransparencyLog
		timestamps         []root.TimestampingAuthority
	)
	if parts.Log {
		logs = identified(t, a.all.RekorLogs())
	}
	if parts.Timestamps {
		timestamps = a.all.TimestampingAuthorities()
	}
	if parts.CertificateLog {
		certificates = identified(t, a.all.CTLogs())
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, a.all.FulcioCertificateAuthorities(), certificates, timestamps, logs)
	require.NoError(t, err)
	content, err := trusted.MarshalJSON()
	require.NoError(t, err)
	return content
}

// identified gives logs the identities that they are known by, which they have as texts.
func identified(t testing.TB, logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	t.Helper()
	for id, l := range logs {
		var err error
		l.ID, err = hex.DecodeString(id)
		require.NoError(t, err)
	}
	return logs
}

// Signs returns a bundle with a statement, signed with a new certificate for somebody, logged, and
// stamped. The log is of the kind that gives no times.
func (a *Authority) Signs(t testing.TB, name, issuer string, statement []byte) []byte {
	t.Helper()
	made, err := a.all.AttestHashedRekordV2(name, issuer, statement)
	require.NoError(t, err)
	b := certified(t, made)
	entries, err := made.TlogEntries()
	require.NoError(t, err)
	for _, e := range entries {
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, e.TransparencyLogEntry())
	}
	return written(t, b)
}

// SignsBytes returns a bundle with a signature of content and no statement, signed with a new
// certificate for somebody, and stamped.
func (a *Authority) SignsBytes(t testing.TB, name, issuer string, content []byte) []byte {
	t.Helper()
	made, err := a.all.Sign(name, issuer, content)
	require.NoError(t, err)
	return written(t, certified(t, made))
}

// certified makes a bundle of what a certificate has signed, without entries of logs.
func certified(t testing.TB, made verify.SignedEntity) *protobundle.Bundle {
	t.Helper()
	by, err := made.VerificationContent()
	require.NoError(t, err)
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_Certificate{
			Certificate: &protocommon.X509Certificate{RawBytes: by.Certificate().Raw},
		},
		TimestampVerificationData: &protobundle.TimestampVerificationData{},
	}
	stamps, err := made.Timestamps()
	require.NoError(t, err)
	for _, s := range stamps {
		material.TimestampVerificationData.Rfc3161Timestamps = append(material.TimestampVerificationData.Rfc3161Timestamps,
			&protocommon.RFC3161SignedTimestamp{SignedTimestamp: s})
	}
	b := &protobundle.Bundle{MediaType: mediaType, VerificationMaterial: material}
	content, err := made.SignatureContent()
	require.NoError(t, err)
	if envelope := content.EnvelopeContent(); envelope != nil {
		b.Content = enveloped(t, envelope.RawEnvelope())
	} else {
		message := content.MessageSignatureContent()
		b.Content = signed(message.Digest(), message.Signature())
	}
	return b
}
