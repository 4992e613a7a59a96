package syncfile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge/bundletest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// keysIn writes the keys private and public, the passphrase file secret, and files with parameters
// for signing into a directory, and returns the name of a sync file there.
func keysIn(t *testing.T) string {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	signing, _, err := imagetest.KeyPair("a secret")
	require.NoError(t, err)
	for name, content := range map[string][]byte{
		"private": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"public":  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		"secret":  []byte("a secret\nmore\n"),

		"params.yaml": []byte("privateKeyFile: " + filepath.Join(dir, "signing") + "\nprivateKeyPassphraseFile: " + filepath.Join(dir, "secret") + "\n"),
		"signing":     signing,
		"fulcio.yaml": []byte("fulcio: {fulcioURL: \"http://127.0.0.1:9\", oidcMode: staticToken, oidcIDToken: t}\nrekorURL: \"http://127.0.0.1:9\"\n"),
		"root.json":   bundletest.NewAuthority(t).Root(t, bundletest.Parts{Log: true}),
		"rekor.yaml":  []byte("rekorURL: \"http://127.0.0.1:9\"\n"),
		"gone.yaml":   []byte("privateKeyFile: /none-such\n"),
		"locked.yaml": []byte("privateKeyFile: " + filepath.Join(dir, "signing") + "\n"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	return filepath.Join(dir, "f.yaml")
}

// TestTransform: paths are relative to the file, and an image takes back what the defaults say.
func TestTransform(t *testing.T) {
	name := keysIn(t)
	f, err := Parse(name, []byte(`
defaults:
  destination: docker://m.example/{repository}
  sign-by-sigstore-private-key: private
  sign-passphrase-file: secret
  sign-identity: docker.io/library/{name}:{tag}-mirrored
  dest-compress-format: zstd
  dest-compress-level: 3
  dest-force-compress-format: true
  encryption-key: ["jwe:public"]
  encrypt-layer: [0, -1]
  format: oci
  changed-subjects: drop
  always-sign: true
  annotate-transformed: true
images:
- source: docker://quay.io/a/b
  tags: [v1, v2]
- source: docker://quay.io/c:1
  sign-by-sigstore-private-key: none
  sign-passphrase-file: none
  sign-identity: none
  dest-compress-format: none
  dest-compress-level: none
  dest-force-compress-format: false
  encryption-key: []
  encrypt-layer: []
  decryption-key: [private, "private:file=secret", "provider:some:thing"]
  format: v2s2
  changed-subjects: keep
  always-sign: false
  annotate-transformed: false
`), parseRef)
	require.NoError(t, err)
	a, b := f.Images[0], f.Images[1]
	assert.Equal(t, filepath.Join(filepath.Dir(name), "private"), a.Options.SignBySigstorePrivateKeyFile)
	assert.Equal(t, "a secret", string(a.Options.SignSigstorePrivateKeyPassphrase))
	assert.Empty(t, a.Options.SignPassphrase, "that is GPG's")
	copies, err := a.Copies(nil)
	require.NoError(t, err)
	assert.Equal(t, "docker.io/library/b:v1-mirrored", copies[0].SignIdentity.String())
	assert.Equal(t, "docker.io/library/b:v2-mirrored", copies[1].SignIdentity.String())
	sys := &types.SystemContext{DockerCertPath: "certs"}
	assert.Equal(t, "zstd", a.Context(sys).CompressionFormat.Name())
	assert.Equal(t, 3, *a.Context(sys).CompressionLevel)
	assert.Equal(t, "certs", a.Context(sys).DockerCertPath)
	assert.Nil(t, sys.CompressionFormat)
	assert.True(t, a.Options.ForceCompressionFormat)
	assert.NotEmpty(t, a.Options.OciEncryptConfig.Parameters["pubkeys"])
	assert.Equal(t, []int{0, -1}, *a.Options.OciEncryptLayers)
	assert.Equal(t, "application/vnd.oci.image.manifest.v1+json", a.Options.ForceManifestMIMEType)
	assert.Equal(t, copy.DropChangedSubjects, a.Options.ChangedSubjects)
	assert.True(t, a.Options.AlwaysSign)
	assert.True(t, a.Options.AnnotateTransformed)

	assert.Empty(t, b.Options.SignBySigstorePrivateKeyFile)
	copies, err = b.Copies(nil)
	require.NoError(t, err)
	assert.Nil(t, copies[0].SignIdentity)
	assert.Same(t, sys, b.Context(sys))
	assert.False(t, b.Options.ForceCompressionFormat)
	assert.Nil(t, b.Options.OciEncryptConfig)
	assert.Len(t, b.Options.OciDecryptConfig.Parameters["privkeys"], 2)
	assert.Contains(t, b.Options.OciDecryptConfig.Parameters, "some")
	assert.Equal(t, manifest.MediaTypeDockerManifest, b.Options.ForceManifestMIMEType)
	assert.Equal(t, copy.KeepChangedSubjects, b.Options.ChangedSubjects)
	assert.False(t, b.Options.AlwaysSign)
	assert.False(t, b.Options.AnnotateTransformed)
}

// TestTransformProblems: each names the key and its line.
// TestOriginal: paths are relative to the file, and an image takes back what the defaults say.
func TestOriginal(t *testing.T) {
	name := keysIn(t)
	f, err := Parse(name, []byte(`
defaults:
  destination: docker://m.example/{repository}
  platforms: [linux/amd64]
  sparse: strip
  attach-original: true
  sign-by-sigstore-private-key: signing
  sign-passphrase-file: secret
  verifier-id: https://mirror.example
  policy-uri: https://mirror.example/policy.json
  policy-digest: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
  previous-public-key: [public]
  origin-key: [public]
images:
- source: docker://quay.io/a:1
- source: docker://quay.io/b:1
  attach-original: false
  sign-by-sigstore-private-key: none
  sign-passphrase-file: none
  verifier-id: none
  policy-uri: none
  policy-digest: none
  previous-public-key: []
  origin-key: []
- source: docker://quay.io/c:1
  origin-key: []
  origin-trusted-root: root.json
  origin-certificate-identity: a@publisher.example
  origin-certificate-issuer: https://issuer.example
`), parseRef)
	require.NoError(t, err)
	a, b, c := f.Images[0].Options, f.Images[1].Options, f.Images[2].Options
	public := filepath.Join(filepath.Dir(name), "public")
	assert.True(t, a.AttachOriginal)
	assert.Equal(t, "https://mirror.example", a.VerifierID)
	assert.Equal(t, "https://mirror.example/policy.json", a.PolicyURI)
	assert.Equal(t, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", a.PolicyDigest.String())
	assert.Equal(t, []string{public}, a.PreviousPublicKeyFiles)
	assert.NotNil(t, a.BundleVerifier)

	assert.False(t, b.AttachOriginal)
	assert.Empty(t, b.VerifierID)
	assert.Empty(t, b.PolicyURI)
	assert.Empty(t, b.PolicyDigest)
	assert.Empty(t, b.PreviousPublicKeyFiles)
	assert.Nil(t, b.BundleVerifier)

	assert.NotNil(t, c.BundleVerifier)
}

func TestTransformProblems(t *testing.T) {
	name := keysIn(t)
	_, err := Parse(name, []byte(`images: [{source: "docker://quay.io/a:1", destination: "dir:/a", sign-by-sigstore-private-key: private, sign-passphrase-file: secret}]`), parseRef)
	assert.ErrorContains(t, err, ":1: sign-identity is needed: the destination, dir:/a, has no name")
	for _, c := range []struct{ keys, says string }{
		{"sign-by-sigstore-private-key: none-such", ":4: sign-by-sigstore-private-key names a file that cannot be read: open " + filepath.Dir(name)},
		{"sign-by-sigstore-private-key: private", ":4: sign-by-sigstore-private-key has a passphrase, and nobody is asked for it; sign-passphrase-file names a file that has it"},
		{"sign-passphrase-file: secret", ":4: sign-passphrase-file needs sign-by or sign-by-sigstore-private-key"},
		{"sign-by: ABCD", ":4: sign-by cannot sign: this program was built without GPG. Build it with CGO_ENABLED=1"},
		{"sign-identity: a.example/b:1", ":4: sign-identity needs sign-by, "},
		{"sign-by-sigstore: none-such", ":4: sign-by-sigstore names no file with parameters for signing: reading \"" + filepath.Dir(name)},
		{"sign-by-sigstore: secret", ":4: sign-by-sigstore names no file with parameters for signing: parsing "},
		{"sign-by-sigstore: rekor.yaml", ":4: sign-by-sigstore " + filepath.Join(filepath.Dir(name), "rekor.yaml") + " has neither privateKeyFile nor fulcio"},
		{"sign-by-sigstore: gone.yaml", ":4: sign-by-sigstore " + filepath.Join(filepath.Dir(name), "gone.yaml") + " names a file that cannot be read: open /none-such"},
		{"sign-by-sigstore: locked.yaml", ":4: sign-by-sigstore " + filepath.Join(filepath.Dir(name), "locked.yaml") + " has a key with a passphrase, and nobody is asked for it; privateKeyPassphraseFile names"},
		{"sign-identity: 'a.example/{names}:1'", `:4: sign-identity "a.example/{names}:1" has {names}, which is unknown; did you mean "name"?`},
		{"sign-by-sigstore-private-key: private\n  sign-passphrase-file: secret\n  sign-identity: a.example/b", `:6: sign-identity "a.example/b" is no identity: it has neither a tag nor a digest`},
		{"dest-compress-format: xz", `:4: dest-compress-format: write gzip, none, zstd or zstd:chunked, not "xz"`},
		{"dest-compress-level: high", `:4: dest-compress-level: "high" is no number`},
		{"dest-compress-format: zstd\n  dest-compress-level: 30", ":5: dest-compress-level is from 1 to 20 for zstd, not 30"},
		{"dest-force-compress-format: true", ":4: dest-force-compress-format needs dest-compress-format"},
		{"encryption-key: ['jwe:private']", ":4: encryption-key (number 1): "},
		{"encryption-key: [public]", `:4: encryption-key (number 1): "public" begins with no protocol`},
		{"encrypt-layer: [0]", ":4: encrypt-layer needs encryption-key"},
		{"encryption-key: ['jwe:public']\n  encrypt-layer: [first]", `:5: encrypt-layer: "first" is no position`},
		{"decryption-key: [public]", ":4: decryption-key (number 1): " + filepath.Join(filepath.Dir(name), "public") + " has no private key"},
		{"decryption-key: ['private:a secret']", ":4: decryption-key: a passphrase does not belong into this file: write KEY:file=FILE"},
		{"encryption-key: ['jwe:public']\n  decryption-key: [private]", ":5: decryption-key and encryption-key exclude each other"},
		{"always-sign: true", ":4: always-sign needs sign-by, sign-by-sigstore or sign-by-sigstore-private-key"},
		{"attach-original: always", `:4: attach-original: write false or true, not "always"`},
		{"origin-key: public", ":4: origin-key must be a list"},
		{"origin-key: [public]", ":4: origin-key needs attach-original"},
		{"attach-original: true\n  origin-key: [secret]\n  sparse: strip", ":5: origin-key cannot be used: " + filepath.Join(filepath.Dir(name), "secret") + " is no public key"},
		{"attach-original: true\n  verifier-id: https://mirror.example\n  sparse: strip", ":5: verifier-id needs attach-original and sign-by-sigstore-private-key"},
		{"attach-original: true\n  sign-by-sigstore-private-key: private\n  sign-passphrase-file: secret\n  sparse: strip", ":2: verifier-id is needed: with attach-original, the key of sign-by-sigstore-private-key states"},
		{"previous-public-key: [public]", ":4: previous-public-key needs sign-by-sigstore-private-key"},
		{"changed-subjects: move", `:4: changed-subjects: write drop or keep, not "move"`},
		{"format: v3", `:4: format: write none, oci, v2s1 or v2s2, not "v3"`},
	} {
		text := "images:\n- source: docker://quay.io/a:1\n  destination: docker://m.example/a\n  " + c.keys + "\n"
		_, err := Parse(name, []byte(text), parseRef)
		if assert.ErrorContains(t, err, c.says, c.keys) {
			assert.NotContains(t, err.Error(), "a secret")
			assert.Equal(t, 1, strings.Count(err.Error(), name+":"), "%v", err)
		}
	}
}
