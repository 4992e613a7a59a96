package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	sigstoresig "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sirupsen/logrus"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// A sigstoreKey is the sigstore private key of one copy, with the public halves of those that it
// has replaced.
type sigstoreKey struct {
	*keyFile
	previous []sigstoresig.Verifier
}

// Sigstore returns the sigstore private key among the keys, and what verifies its signatures and
// those of the keys that it has replaced. All are nil if there is no such key.
func (k *Keys) Sigstore() (sigstoresig.Signer, []sigstoresig.Verifier, error) {
	if !k.attach() {
		return nil, nil, nil
	}
	verifiers, err := k.sigstore.verifiers()
	if err != nil {
		return nil, nil, err
	}
	key, err := k.sigstore.pair()
	return key, verifiers, err
}

// TakeTurn waits until no other copy with the same Ring attaches anything to d in the repository
// that the keys sign for: one that comes later finds what was attached. An error is context.Cause.
func (k *Keys) TakeTurn(ctx context.Context, d digest.Digest) (done func(), err error) {
	return k.ring.said.Take(ctx, k.Repository()+"@"+d.String())
}

// Repository returns the name of the repository that the keys sign for, without a tag.
func (k *Keys) Repository() string { return k.identity.Name() }

func (k *sigstoreKey) verifiers() ([]sigstoresig.Verifier, error) {
	key, err := k.pair()
	if err != nil {
		return nil, err
	}
	return append([]sigstoresig.Verifier{key}, k.previous...), nil
}

// A keyFile is a sigstore private key, which is decrypted twice at most: for a Signer, and for what
// else is done with it.
type keyFile struct {
	signer func() (*signer.Signer, error)
	pair   func() (sigstoresig.SignerVerifier, error)
}

// file returns the key in a file, which others may have opened.
func (r *Ring) file(path string, passphrase []byte) *keyFile {
	file := &keyFile{
		signer: sync.OnceValues(func() (*signer.Signer, error) {
			return sigstore.NewSigner(sigstore.WithPrivateKeyFile(path, passphrase))
		}),
		pair: sync.OnceValues(func() (sigstoresig.SignerVerifier, error) { return pairOf(path, passphrase) }),
	}
	content, err := os.ReadFile(path)
	if err != nil || passphrase == nil {
		return file // signer says what is wrong
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%d %s%s", len(content), content, passphrase))
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.files[id]; known != nil {
		return known
	}
	if r.files == nil {
		r.files = map[[sha256.Size]byte]*keyFile{}
	}
	r.files[id] = file
	return file
}

// publicKeys returns what verifies signatures of the public keys in files, in PEM format. An error
// is a *plan.OptionsError.
func publicKeys(paths []string) (verifiers []sigstoresig.Verifier, err error) {
	for _, path := range paths {
		verifier, err := sigstoresig.LoadVerifierFromPEMFile(path, crypto.SHA256)
		if err != nil {
			return nil, &plan.OptionsError{Options: []string{"PreviousPublicKeyFiles"}, Reason: fmt.Sprintf("%s is no public key in PEM format: %v", path, err)}
		}
		verifiers = append(verifiers, verifier)
	}
	return verifiers, nil
}

// signatureKey is the annotation of a sigstore attachment's layer that has the signature (cosign's
// SIGNATURE_SPEC.md).
const signatureKey = "dev.cosignproject.cosign/signature"

// hasSigned reports whether the key, or one that it has replaced, has made a signature for c.
func (k *sigstoreKey) hasSigned(_ Subject, c claim, among endpoint.Signatures) bool {
	attachable, _ := among.Split()
	for _, sig := range attachable {
		text, err := base64.StdEncoding.DecodeString(sig.Layer.Annotations[signatureKey])
		if err != nil || claimOf(sig.Payload) != c {
			continue
		}
		keys, err := k.verifiers()
		if err != nil {
			logrus.Debugf("Whether the key has signed %s is not known: %v", c.digest, err)
			return false
		}
		for _, key := range keys {
			if key.VerifySignature(bytes.NewReader(text), bytes.NewReader(sig.Payload)) == nil {
				return true
			}
		}
	}
	return false
}

// pairOf returns a sigstore private key with its public half, as it is kept in files: PKCS #8,
// encrypted, PEM.
func pairOf(path string, passphrase []byte) (sigstoresig.SignerVerifier, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("it is not in PEM format")
	}
	plain, err := encrypted.Decrypt(block.Bytes, passphrase)
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, err
	}
	return sigstoresig.LoadSignerVerifier(private, crypto.SHA256)
}
