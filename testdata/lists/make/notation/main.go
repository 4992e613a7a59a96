// Notation signs and verifies images with notation-go, as the command notation does with a key pair
// of its own; the module of that was not to be had.
//
//	notation sign REFERENCE         referrers API, or the referrers tag where there is none
//	notation sign-tag REFERENCE     referrers tag in any case, as the command 1.3 does by default
//	notation verify REFERENCE
//
// The key pair is in the working directory; the first signature makes it.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"oras.land/oras-go/v2/registry/remote"
)

const (
	keyFile  = "notation.key"
	certFile = "truststore/x509/ca/test/notation.crt"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "notation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: notation sign|sign-tag|verify REFERENCE")
	}
	repo, err := remote.NewRepository(args[1])
	if err != nil {
		return err
	}
	repo.PlainHTTP = true
	switch args[0] {
	case "sign":
		return sign(ctx, repo, args[1])
	case "sign-tag":
		if err := repo.SetReferrersCapability(false); err != nil {
			return err
		}
		return sign(ctx, repo, args[1])
	case "verify":
		return verify(ctx, repo, args[1])
	}
	return fmt.Errorf("%q is none of sign, sign-tag, verify", args[0])
}

func sign(ctx context.Context, repo *remote.Repository, reference string) error {
	if _, err := os.Stat(keyFile); errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(); err != nil {
			return err
		}
	}
	s, err := signer.NewFromFiles(keyFile, certFile)
	if err != nil {
		return err
	}
	_, err = notation.Sign(ctx, s, registry.NewRepository(repo), notation.SignOptions{
		ArtifactReference: reference,
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: jws.MediaTypeEnvelope},
	})
	return err
}

func verify(ctx context.Context, repo *remote.Repository, reference string) error {
	dir.UserConfigDir = "."
	v, err := verifier.New(&trustpolicy.Document{
		Version: "1.0",
		TrustPolicies: []trustpolicy.TrustPolicy{{
			Name: "test", RegistryScopes: []string{"*"}, TrustStores: []string{"ca:test"}, TrustedIdentities: []string{"*"},
			SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
		}},
	}, truststore.NewX509TrustStore(dir.ConfigFS()), nil)
	if err != nil {
		return err
	}
	_, _, err = notation.Verify(ctx, v, registry.NewRepository(repo), notation.VerifyOptions{
		ArtifactReference: reference, MaxSignatureAttempts: 10,
	})
	return err
}

// makeKey writes a key and a self-signed certificate, as the Notary Project demands it.
func makeKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	name := pkix.Name{CommonName: "test", Organization: []string{"Notary"}, Country: []string{"US"}, Province: []string{"WA"}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(certFile), 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
	)
}
