package mirrorcmd

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

func scriptSigningKey(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2)
	private, public, err := imagetest.KeyPair(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), private, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), public, 0o600))
}

func scriptRSAKey(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1)
	private, public, err := rsaKey()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), private, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), public, 0o600))
}

// rsaKey makes a pair of keys to decrypt and to encrypt with.
func rsaKey() (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	public, err = x509.MarshalPKIXPublicKey(&key.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), err
}
