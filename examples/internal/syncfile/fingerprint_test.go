package syncfile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// first parses a file with one image.
func first(t *testing.T, name, text string) *Image {
	t.Helper()
	file, err := Parse(name, []byte(text), parseRef)
	require.NoError(t, err, text)
	return file.Images[0]
}

func TestSettings(t *testing.T) {
	const plain = "images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: [linux/amd64, linux/arm64], sparse: strip}\n"
	want := first(t, "f.yaml", plain).Settings
	require.NoError(t, want.Validate())
	for name, c := range map[string]struct {
		text string
		same bool
	}{
		"written otherwise": {"images:\n- source: docker://a.example/b:1\n  destination: docker://m.example/b\n  sparse: 'strip'\n  platforms:\n  - \"linux/amd64\"\n  - linux/arm64 # not v7\n", true},
		"by default":        {"defaults: {platforms: [linux/amd64, linux/arm64], sparse: strip}\nimages:\n- {source: docker://a.example/b:1, destination: docker://m.example/b}\n", true},
		"by an alias":       {"defaults: {platforms: &p [linux/amd64, linux/arm64], sparse: strip}\nimages:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: *p}\n", true},
		"other names":       {"images:\n- {source: docker://a.example/c, tags: ['*'], destination: docker://m.example/c, platforms: [linux/amd64, linux/arm64], sparse: strip}\n", true},
		"other manners":     {"images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: [linux/amd64, linux/arm64], sparse: strip, parallel: 3, check: blobs, check-blobs: true, every: 6h, jitter: 5m}\n", true},
		"fewer platforms":   {"images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: [linux/amd64], sparse: strip}\n", false},
		"one platform":      {"images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: ['linux/amd64 linux/arm64'], sparse: strip}\n", false},
		"another action":    {"images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: [linux/amd64, linux/arm64], sparse: keep}\n", false},
		"one more key":      {"images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b, platforms: [linux/amd64, linux/arm64], sparse: strip, referrers: true}\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "one platform" {
				_, err := Parse("f.yaml", []byte(c.text), parseRef)
				require.Error(t, err) // so that it cannot be taken for two
				return
			}
			got := first(t, "f.yaml", c.text).Settings
			if c.same {
				assert.Equal(t, want, got)
			} else {
				assert.NotEqual(t, want, got)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]Check{
		"": CheckManifests, ", check: manifests": CheckManifests, ", check: tag": CheckTag, ", check: blobs": CheckBlobs,
	} {
		assert.Equal(t, want, first(t, "f.yaml", "images:\n- {source: docker://a.example/b:1, destination: docker://m.example/b"+text+"}\n").Check, text)
	}
}

func TestFilesOfAnImage(t *testing.T) {
	dir := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	require.NoError(t, err)
	key := filepath.Join(dir, "key.pub")
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600))
	text := "defaults: {destination: docker://m.example/b}\nimages:\n- {source: docker://a.example/b:1, sparse: strip, platforms: [linux/amd64], attach-original: true, origin-key: [key.pub]}\n- {source: docker://a.example/c:1, destination: docker://m.example/c}\n"
	file, err := Parse(filepath.Join(dir, "f.yaml"), []byte(text), parseRef)
	require.NoError(t, err)
	assert.Equal(t, []string{key}, file.Images[0].Files)
	assert.Empty(t, file.Images[1].Files)
}
