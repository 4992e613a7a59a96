package registry

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
)

// TestLookaside: what is kept of one question to containers/image is what it would answer to any
// other.
func TestLookaside(t *testing.T) {
	refs := []string{"//example.com/a/b:v1", "//example.com/a/b:v2", "//example.com/a/c", "//other.example.com/a", "//busybox", "//localhost:5000/a/b/c:v1"}
	for name, config := range map[string]string{
		"nothing":     "",
		"default":     "default-docker:\n  lookaside: https://example.com/all\n",
		"old name":    "default-docker:\n  sigstore: file:///all\n",
		"staging":     "default-docker:\n  lookaside-staging: file:///staging\n",
		"attachments": "default-docker:\n  lookaside: file:///all\ndocker:\n  example.com:\n    use-sigstore-attachments: true\n",
		"namespaces": "default-docker:\n  lookaside: file:///all/\ndocker:\n  example.com:\n    lookaside: https://host.example/x?q=1\n" +
			"  example.com/a/b:\n    sigstore: file:///repository\n  example.com/a/b:v2:\n    lookaside: file:///tag\n" +
			"  '*.example.com':\n    lookaside: file:///wild\n  docker.io/library:\n    lookaside: file:///hub\n",
	} {
		t.Run(name, func(t *testing.T) {
			sys := &types.SystemContext{RegistriesDirPath: t.TempDir()}
			require.NoError(t, os.WriteFile(filepath.Join(sys.RegistriesDirPath, "default.yaml"), []byte(config), 0o600))
			c, err := (&Shared{}).signatureConfig(sys)
			require.NoError(t, err)
			for range 2 {
				for _, s := range refs {
					ref, err := docker.ParseReference(s)
					require.NoError(t, err)
					want, err := docker.SignatureStorageBaseURL(sys, ref, false)
					require.NoError(t, err)
					got, err := c.lookaside(ref)
					require.NoError(t, err)
					assert.Equal(t, want, got, s)
				}
			}
		})
	}
}

// TestSignatureConfigIsReadAgain: not for each image, and not only once; and what is wrong with it
// is said each time.
func TestSignatureConfigIsReadAgain(t *testing.T) {
	now := clocktest.New(time.Now())
	sh := &Shared{Clock: now}
	sys := &types.SystemContext{RegistriesDirPath: t.TempDir()}
	put := func(name, content string) {
		require.NoError(t, os.WriteFile(filepath.Join(sys.RegistriesDirPath, name), []byte(content), 0o600))
	}
	ref, err := docker.ParseReference("//example.com/a:v1")
	require.NoError(t, err)
	uses := func() bool {
		c, err := sh.signatureConfig(sys)
		require.NoError(t, err)
		return c.usesAttachments(ref)
	}
	assert.False(t, uses())
	put("default.yaml", "default-docker:\n  use-sigstore-attachments: true\n")
	assert.False(t, uses(), "it was read a moment ago")
	now.Advance(signatureConfigAge)
	assert.True(t, uses())
	other, err := sh.signatureConfig(&types.SystemContext{RegistriesDirPath: t.TempDir()})
	require.NoError(t, err)
	assert.False(t, other.usesAttachments(ref), "another directory")

	put("again.yaml", "default-docker: {}\n")
	now.Advance(signatureConfigAge)
	for range 2 {
		c, err := sh.signatureConfig(sys)
		require.NoError(t, err)
		_, err = c.lookaside(ref)
		require.ErrorContains(t, err, `"default-docker" defined both in`)
	}
	put("broken.yaml", "docker: [")
	now.Advance(signatureConfigAge)
	_, err = sh.signatureConfig(sys)
	require.ErrorContains(t, err, "broken.yaml")
}
