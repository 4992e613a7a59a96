package mirrorcmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestImageSyncerFlags has a rule that names no destination, and flags that say what becomes of it.
func TestImageSyncerFlags(t *testing.T) {
	f := imagetest.Platforms(2, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "team/app", "1.0", imagetest.Top)
	require.NoError(t, os.WriteFile(s.file, []byte(s.src.Host()+"/team/app:1.0: ''\n"), 0o600))
	auth := filepath.Join(t.TempDir(), "auth.yaml")
	require.NoError(t, os.WriteFile(auth, []byte(s.dst.Host()+": {insecure: true}\n"), 0o600))
	s.sync("--from", "image-syncer", "--image-syncer-auth", auth, "--image-syncer-registry", s.dst.Host(), "--image-syncer-namespace", "all",
		"--image-syncer-os", "linux", "--image-syncer-arch", "arm64").done(t)
	assert.Equal(t, []string{"1.0"}, s.dst.Tags("all/app"))
	for platform, wanted := range map[string]bool{"amd64": false, "arm64": true} {
		_, _, there := s.dst.Manifest("all/app", f.Digest(platform).String())
		assert.Equal(t, wanted, there, platform)
	}
}
