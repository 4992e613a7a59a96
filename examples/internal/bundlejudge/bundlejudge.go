// Package bundlejudge judges sigstore bundles, as cosign 3 signs images with, by sigstore-go. The
// policy.json of containers/image has no words for them.
//
// A Judge trusts keys, or certificates of one identity by a trusted root. It asks nobody over the
// network: what it believes is in the files that it was made of.
//
// A bundle names what it signs by digest alone. Whoever trusts its signer trusts them for any
// repository.
package bundlejudge

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// SignaturePredicate is the type of the statements with which cosign signs images. Others say
// something about an image, and do not sign it.
const SignaturePredicate = "https://sigstore.dev/cosign/sign/v1"

// A Judge says whether bundles are signatures by somebody who is trusted. It is safe for concurrent
// use.
type Judge struct {
	keys     []key            // nil if certificates are trusted
	verifier *verify.Verifier // of certificates, nil if keys are trusted
	identity Identity         // of certificates
}

// VerifyBundle returns who has signed the object with digest subject, for people: the file of a
// key, or the identity of a certificate and its issuer. An error says why the bundle, a JSON
// document of any version from 0.1 to 0.3, is no signature of subject by somebody trusted.
//
// A bundle has an in-toto statement of type SignaturePredicate about subject, or a signature of the
// bytes with that digest.
func (j *Judge) VerifyBundle(ctx context.Context, content []byte, subject digest.Digest) (signer string, err error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	if err := subject.Validate(); err != nil {
		return "", err
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(content); err != nil {
		return "", fmt.Errorf("it is no sigstore bundle: %w", err)
	}
	if err := isSignatureOf(b, subject); err != nil {
		return "", err
	}
	made, err := b.VerificationContent()
	if err != nil {
		return "", fmt.Errorf("it does not say how it was made: %w", err)
	}
	certified := made.Certificate() != nil
	switch {
	case j.keys != nil && certified:
		return "", errors.New("it is signed with a certificate, and keys are trusted")
	case j.keys == nil && !certified:
		return "", errors.New("it is signed with a key, and certificates are trusted")
	case j.keys != nil:
		return j.byKey(b, subject)
	}
	return j.byCertificate(b, subject)
}

// isSignatureOf returns why a bundle, whoever made it, does not sign subject, nil if it does. What
// a signature of bytes says about their digest is a hint: that is left to whoever verifies it.
func isSignatureOf(b *bundle.Bundle, subject digest.Digest) error {
	content, err := b.SignatureContent()
	if err != nil {
		return fmt.Errorf("it has no signature: %w", err)
	}
	envelope := content.EnvelopeContent()
	if envelope == nil {
		if message := content.MessageSignatureContent(); !bytes.Equal(message.Digest(), encoded(subject)) {
			return fmt.Errorf("it signs something with digest %x, and not %s", message.Digest(), subject)
		}
		return nil
	}
	statement, err := envelope.Statement()
	if err != nil {
		return fmt.Errorf("it has no in-toto statement: %w", err)
	}
	if statement.GetPredicateType() != SignaturePredicate {
		return fmt.Errorf("it states %q about the image, which is no signature: that is %s", statement.GetPredicateType(), SignaturePredicate)
	}
	var others []string
	for _, s := range statement.GetSubject() {
		value := s.GetDigest()[subject.Algorithm().String()]
		if named, err := hex.DecodeString(value); err == nil && bytes.Equal(named, encoded(subject)) {
			return nil
		}
		others = append(others, subject.Algorithm().String()+":"+value)
	}
	return fmt.Errorf("it signs %q, and not %s", others, subject)
}

// encoded is the value of a digest that is valid, as bytes.
func encoded(d digest.Digest) []byte {
	b, _ := hex.DecodeString(d.Encoded())
	return b
}

// byKey returns the first key that has made a bundle.
func (j *Judge) byKey(b *bundle.Bundle, subject digest.Digest) (string, error) {
	var failures []error
	for _, k := range j.keys {
		for _, verifier := range k.verifiers {
			_, err := verifier.Verify(b, verify.NewPolicy(about(subject), verify.WithKey()))
			if err == nil {
				return "key " + k.file, nil
			}
			failures = append(failures, fmt.Errorf("%s: %w", k.file, err))
		}
	}
	return "", fmt.Errorf("it is not signed with a key that is trusted: %w", errors.Join(failures...))
}

// byCertificate returns the identity of the certificate that has made a bundle, if it is the one
// that is trusted.
func (j *Judge) byCertificate(b *bundle.Bundle, subject digest.Digest) (string, error) {
	result, err := j.verifier.Verify(b, verify.NewPolicy(about(subject), verify.WithoutIdentitiesUnsafe())) // it is compared below
	if err != nil {
		return "", fmt.Errorf("it does not hold by the trusted root: %w", err)
	}
	made := result.Signature.Certificate
	if signer := (Identity{made.SubjectAlternativeName, made.Issuer}); signer != j.identity {
		return "", fmt.Errorf("it is signed by %s, and not by %s", signer, j.identity)
	}
	return j.identity.String(), nil
}

// about makes sigstore-go hold what was signed against subject.
func about(subject digest.Digest) verify.ArtifactPolicyOption {
	return verify.WithArtifactDigest(subject.Algorithm().String(), encoded(subject))
}
