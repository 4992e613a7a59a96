package copytest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/signature/signer"
	"go.podman.io/image/v5/signature/sigstore"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/endpoint/transport"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// keyPair is the one key pair of a process: to encrypt a private key takes as long as a copy.
var keyPair = sync.OnceValues(func() (pair struct{ private, public []byte }, err error) {
	pair.private, pair.public, err = imagetest.KeyPair("passphrase")
	return pair, err
})

// Signer is NewSigner, once for all tests of a process: nobody closes it.
var Signer = sync.OnceValues(NewSigner)

// NewSigner returns a signer with the private key of NewSigningEnv, which it has decrypted: that,
// too, takes as long as a copy.
func NewSigner() (*signer.Signer, error) {
	keys, err := keyPair()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "signing")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	private := filepath.Join(dir, "key")
	if err := os.WriteFile(private, keys.private, 0o600); err != nil {
		return nil, err
	}
	return sigstore.NewSigner(sigstore.WithPrivateKeyFile(private, []byte("passphrase")))
}

// NewSigningEnv is NewEnv with sigstore attachments, and the files of a key pair, the same for all
// tests of a process.
func NewSigningEnv(t testing.TB) (e *Env, private, public string) {
	e = NewEnv(t)
	require.NoError(t, os.WriteFile(filepath.Join(e.Sys.RegistriesDirPath, "default.yaml"),
		[]byte("default-docker:\n  use-sigstore-attachments: true\n"), 0o600))
	keys, err := keyPair()
	require.NoError(t, err)
	dir := t.TempDir()
	private, public = filepath.Join(dir, "key"), filepath.Join(dir, "key.pub")
	require.NoError(t, os.WriteFile(private, keys.private, 0o600))
	require.NoError(t, os.WriteFile(public, keys.public, 0o600))
	return e, private, public
}

// SignedSource is a list at a registry that is signed, with its instances, by the private key of
// NewSigningEnv.
func SignedSource(t testing.TB, e *Env, f *imagetest.Fixture, o registrytest.Options) RegistryPlace {
	by, err := Signer()
	require.NoError(t, err)
	src := RegistryAt(t, registrytest.Start(t, o), "app")
	src.Push(f, "unsigned", imagetest.Top)
	r, err := e.Image(t.Context(), src.Ref("v1"), src.Ref("unsigned"), copy.Options{
		ImageListSelection: copy.CopyAllImages, Signers: []*signer.Signer{by},
	})
	require.NoError(t, err)
	require.Equal(t, copy.Native, r.Plan.Way)
	require.Equal(t, f.Digest(imagetest.Top), src.Top("v1"))
	return src
}

// SignaturesAt returns the signatures of a manifest.
func SignaturesAt(t testing.TB, e *Env, ref types.ImageReference, d digest.Digest) endpoint.Signatures {
	src, err := transport.OpenSource(t.Context(), ref, e.Sys)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	sigs, err := src.Signatures(t.Context(), d)
	require.NoError(t, err)
	return sigs
}

// SigstorePolicy accepts what is signed with a key for a repository.
func SigstorePolicy(t testing.TB, e *Env, public, repository string) *signature.PolicyContext {
	identity, err := signature.NewPRMExactRepository(repository)
	require.NoError(t, err)
	requirement, err := signature.NewPRSigstoreSigned(
		signature.PRSigstoreSignedWithKeyPath(public), signature.PRSigstoreSignedWithSignedIdentity(identity))
	require.NoError(t, err)
	return e.NewPolicy(&signature.Policy{Default: signature.PolicyRequirements{requirement}})
}
