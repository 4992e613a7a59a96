package transform

import (
	"crypto/elliptic"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/bundlejudge/bundletest"
)

func TestOriginal(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	key, root := file("key", bundletest.NewKey(t, elliptic.P256()).Public(t)), file("root", bundletest.NewAuthority(t).Root(t, bundletest.Parts{Log: true}))
	const who, issuer = "a@publisher.example", "https://issuer.example"
	attached := func(o Origin) Settings { return Settings{Original: Original{Attach: true, Origin: o}} }
	for what, c := range map[string]struct {
		settings Settings
		judged   bool   // bundles are
		setting  string // that is wrong, "" for none
		says     string
	}{
		"nothing":             {settings: Settings{}},
		"attached":            {settings: attached(Origin{})},
		"key":                 {settings: attached(Origin{Keys: []string{key}}), judged: true},
		"key in a log":        {settings: attached(Origin{Keys: []string{key, key}, TrustedRoot: root}), judged: true},
		"certificate":         {settings: attached(Origin{TrustedRoot: root, CertificateIdentity: who, CertificateIssuer: issuer}), judged: true},
		"not attached":        {Settings{Original: Original{Origin: Origin{Keys: []string{key}}}}, false, OriginKey, "--origin-key needs --attach-original"},
		"nobody":              {attached(Origin{TrustedRoot: root}), false, OriginTrustedRoot, "--origin-trusted-root needs --origin-certificate-identity and --origin-certificate-issuer, or --origin-key: it says who gives certificates, and not whose are trusted"},
		"no issuer":           {attached(Origin{TrustedRoot: root, CertificateIdentity: who}), false, OriginTrustedRoot, "--origin-trusted-root needs"},
		"no root":             {attached(Origin{CertificateIdentity: who, CertificateIssuer: issuer}), false, OriginCertificateIdentity, "--origin-certificate-identity needs --origin-trusted-root"},
		"issuer alone":        {attached(Origin{CertificateIssuer: issuer}), false, OriginCertificateIssuer, "--origin-certificate-issuer needs --origin-trusted-root"},
		"key and certificate": {attached(Origin{Keys: []string{key}, CertificateIssuer: issuer}), false, OriginCertificateIssuer, "--origin-certificate-issuer and --origin-key exclude each other: a key has no certificate"},
		"no key":              {attached(Origin{Keys: []string{root}}), false, OriginKey, "--origin-key cannot be used: " + root + " is no public key in PEM"},
		"no trusted root":     {attached(Origin{TrustedRoot: key, CertificateIdentity: who, CertificateIssuer: issuer}), false, OriginTrustedRoot, "--origin-trusted-root cannot be used: " + key + " is no trusted root"},
		"no file":             {attached(Origin{Keys: []string{key + "x"}}), false, OriginKey, "--origin-key cannot be used: open " + key + "x"},
		"nothing is stated":   {Settings{Original: Original{Attach: true, VerifierID: "https://mirror.example"}}, false, VerifierID, "--verifier-id needs --attach-original and --sign-by-sigstore-private-key: it is about what the mirror states"},
		"nor by policy":       {Settings{Original: Original{Attach: true, PolicyURI: "https://mirror.example"}}, false, PolicyURI, "--policy-uri needs"},
		"nor of what":         {Settings{Original: Original{Attach: true, PolicyDigest: "sha256:0"}}, false, PolicyDigest, "--policy-digest needs"},
		"no original":         {Settings{SignBySigstorePrivateKey: key, Original: Original{VerifierID: "https://mirror.example"}}, false, VerifierID, "--verifier-id needs"},
		"nobody states":       {Settings{SignBySigstorePrivateKey: key, Original: Original{Attach: true}}, false, VerifierID, "--verifier-id is needed: with --attach-original, the key of --sign-by-sigstore-private-key states"},
		"no key before":       {Settings{PreviousPublicKeys: []string{key}}, false, PreviousPublicKey, "--previous-public-key needs --sign-by-sigstore-private-key"},
		"no previous key":     {Settings{SignBySigstorePrivateKey: key, PreviousPublicKeys: []string{key, key + "x"}}, false, PreviousPublicKey, "--previous-public-key names a file that cannot be read"},
	} {
		t.Run(what, func(t *testing.T) {
			c.settings.Prefix = "--"
			var o copy.Options
			err := c.settings.Apply(&o)
			if c.setting == "" {
				require.NoError(t, err)
				assert.Equal(t, c.settings.Original.Attach, o.AttachOriginal)
				assert.Equal(t, c.judged, o.BundleVerifier != nil)
				return
			}
			var problem *Problem
			require.ErrorAs(t, err, &problem)
			assert.Equal(t, c.setting, problem.Setting)
			assert.ErrorContains(t, err, c.says)
		})
	}
}
