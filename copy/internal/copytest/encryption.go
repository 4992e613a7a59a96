package copytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	encconfig "github.com/containers/ocicrypt/config"
	"github.com/stretchr/testify/require"
)

// NewCryptKeys makes a key pair, to encrypt layers to and to decrypt them with.
func NewCryptKeys(t testing.TB) (*encconfig.EncryptConfig, *encconfig.DecryptConfig) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	encrypt, err := encconfig.EncryptWithJwe([][]byte{pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})})
	require.NoError(t, err)
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	decrypt, err := encconfig.DecryptWithPrivKeys([][]byte{private}, [][]byte{nil})
	require.NoError(t, err)
	return encrypt.EncryptConfig, decrypt.DecryptConfig
}
