package vouching

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	securesystems "github.com/secure-systems-lab/go-securesystemslib/dsse"
	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
)

// MediaType is that of a sigstore bundle, v0.3, and the artifact type of what carries one.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// errTooLarge says that a statement is larger than what is read of others.
var errTooLarge = fmt.Errorf("its summary has more than %d bytes, so much was removed", maxBundle)

// Sign returns a bundle with the statement, signed by key alone: no certificate, and no entry of a
// transparency log. The error may be errTooLarge.
func (s Statement) Sign(ctx context.Context, key signature.Signer) ([]byte, error) {
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sealed, err := dsse.WrapSigner(key, trust.StatementPayload).SignMessage(bytes.NewReader(payload), options.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	var envelope securesystems.Envelope
	if err := json.Unmarshal(sealed, &envelope); err != nil {
		return nil, err
	}
	made, err := base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig)
	if err != nil {
		return nil, err
	}
	hint, err := hintOf(key)
	if err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(&bundlev1.Bundle{
		MediaType: MediaType,
		VerificationMaterial: &bundlev1.VerificationMaterial{
			Content: &bundlev1.VerificationMaterial_PublicKey{PublicKey: &commonv1.PublicKeyIdentifier{Hint: hint}},
		},
		Content: &bundlev1.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: payload, PayloadType: trust.StatementPayload, Signatures: []*protodsse.Signature{{Sig: made}},
		}},
	})
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson's spaces differ from program to program
	if err = json.Compact(&compact, text); err == nil && compact.Len() > maxBundle {
		err = errTooLarge
	}
	return compact.Bytes(), err
}

// hintOf returns what a bundle says of the key that verifies it, as cosign does.
func hintOf(key signature.Signer) (string, error) {
	public, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// SaidBy reports whether bundle has the statement, with any time, and a signature of one of the
// keys.
func (s Statement) SaidBy(bundle []byte, keys ...signature.Verifier) bool {
	said, err := opened(bundle, keys)
	if err != nil {
		return false
	}
	ours, err := json.Marshal(s)
	if err != nil {
		return false
	}
	want, err := timeless(ours)
	if err != nil {
		return false
	}
	got, err := timeless(said)
	return err == nil && bytes.Equal(got, want)
}

var errNotOurs = errors.New("none of the keys has signed it")

// opened returns the statement in a bundle that one of the keys has signed. What else the bundle
// has to verify it by does not matter.
func opened(bundle []byte, keys []signature.Verifier) ([]byte, error) {
	var b bundlev1.Bundle
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(bundle, &b); err != nil {
		return nil, fmt.Errorf("it is no bundle: %w", err)
	}
	sealed := b.GetDsseEnvelope()
	envelope := securesystems.Envelope{
		PayloadType: sealed.GetPayloadType(), Payload: base64.StdEncoding.EncodeToString(sealed.GetPayload()),
	}
	for _, s := range sealed.GetSignatures() {
		envelope.Signatures = append(envelope.Signatures, securesystems.Signature{Sig: base64.StdEncoding.EncodeToString(s.GetSig())})
	}
	text, err := json.Marshal(envelope)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		var payload []byte
		verifier := dsse.WrapVerifier(key, dsse.WithExpectedPayloadType(trust.StatementPayload), dsse.WithDecodedPayload(&payload))
		if verifier.VerifySignature(bytes.NewReader(text), nil) == nil {
			return payload, nil
		}
	}
	return nil, errNotOurs
}

// timeless returns a statement in one form, without the time of its summary.
func timeless(statement []byte) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(statement, &all); err != nil {
		return nil, err
	}
	if predicate, ok := all["predicate"].(map[string]any); ok {
		delete(predicate, "timeVerified")
	}
	return json.Marshal(all)
}
