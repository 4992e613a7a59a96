package bundlejudge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// An Identity is who has got a certificate.
type Identity struct {
	Name   string // the subject alternative name: an address, or the URL of a workflow
	Issuer string // the OpenID Connect issuer that has identified them
}

func (i Identity) String() string { return fmt.Sprintf("%s (issuer %s)", i.Name, i.Issuer) }

// ByKeys returns a Judge that trusts public keys, each in a PEM file. At least one is needed.
//
// If rootFile, a trusted root of sigstore, is not "", a bundle needs a proof, too, that it is in a
// transparency log of that root; or, if the root has none, a timestamp of one of its authorities.
// Without it, logs and timestamps are not looked at.
func ByKeys(files []string, rootFile string) (*Judge, error) {
	if len(files) == 0 {
		return nil, errors.New("no key")
	}
	options := []verify.VerifierOption{verify.WithNoObserverTimestamps()}
	material := root.TrustedMaterialCollection{}
	if rootFile != "" {
		trusted, err := readRoot(rootFile)
		if err != nil {
			return nil, err
		}
		material = append(material, trusted)
		if len(trusted.RekorLogs()) > 0 {
			options = append(options, verify.WithTransparencyLog(1))
		} else {
			options = []verify.VerifierOption{verify.WithSignedTimestamps(1)}
		}
	}
	j := &Judge{}
	for _, file := range files {
		k, err := readKey(file, material, options)
		if err != nil {
			return nil, err
		}
		j.keys = append(j.keys, k)
	}
	return j, nil
}

// ByRoot returns a Judge that trusts certificates for an identity, both parts of which are needed
// and compared as they are. The certificate must come from an authority of the trusted root in
// rootFile, and a log or timestamp of that root must say that it was used while it was good. If the
// root has transparency logs, or logs of certificates, they must have the bundle, or the
// certificate.
func ByRoot(rootFile string, identity Identity) (*Judge, error) {
	if identity.Name == "" || identity.Issuer == "" {
		return nil, errors.New("an identity needs a name and its issuer")
	}
	trusted, err := readRoot(rootFile)
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(trusted.RekorLogs()) > 0 {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if len(trusted.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(trusted, options...)
	if err != nil {
		return nil, err
	}
	return &Judge{verifier: verifier, identity: identity}, nil
}

// readRoot reads a trusted root that can say when something was signed.
func readRoot(file string) (*root.TrustedRoot, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	trusted, err := root.NewTrustedRootFromJSON(content)
	if err != nil {
		return nil, fmt.Errorf("%s is no trusted root of sigstore: %w", file, err)
	}
	if len(trusted.RekorLogs()) == 0 && len(trusted.TimestampingAuthorities()) == 0 {
		return nil, fmt.Errorf("%s has no transparency log and no timestamp authority, so that nothing can say when something was signed", file)
	}
	return trusted, nil
}

// A key is a public key, and what verifies with it.
type key struct {
	file      string
	verifiers []*verify.Verifier
}

func readKey(file string, material root.TrustedMaterialCollection, options []verify.VerifierOption) (key, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return key{}, err
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(content)
	if err != nil {
		return key{}, fmt.Errorf("%s is no public key in PEM: %w", file, err)
	}
	k := key{file: file}
	for _, hash := range hashes(public) {
		byKey, err := load(public, hash)
		if err != nil {
			return key{}, fmt.Errorf("%s is a key of a kind that does not sign bundles: %w", file, err)
		}
		// Bundles give a hint which key has made them. It is not signed: each key is tried.
		any := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return byKey, nil })
		verifier, err := verify.NewVerifier(append(root.TrustedMaterialCollection{any}, material...), options...)
		if err != nil {
			return key{}, err
		}
		k.verifiers = append(k.verifiers, verifier)
	}
	return k, nil
}

// hashes are those that signatures with a key may be of; 0 stands for the one that goes with the
// key. Cosign took SHA-256 for all curves at first.
func hashes(public crypto.PublicKey) []crypto.Hash {
	if k, ok := public.(*ecdsa.PublicKey); ok && k.Curve != elliptic.P256() {
		return []crypto.Hash{0, crypto.SHA256}
	}
	return []crypto.Hash{0}
}

// load returns what verifies with a key, at any time.
func load(public crypto.PublicKey, hash crypto.Hash) (root.TimeConstrainedVerifier, error) {
	var (
		verifier signature.Verifier
		err      error
	)
	if hash == 0 {
		verifier, err = signature.LoadDefaultVerifier(public)
	} else {
		verifier, err = signature.LoadVerifier(public, hash)
	}
	if err != nil {
		return nil, err
	}
	return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
}
