package mirrorcmd

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestSyncSystem copies one image of a list. What is remembered is void for another system.
func TestSyncSystem(t *testing.T) {
	f := imagetest.Platforms(3, 1, 100)
	s := newSyncTest(t, registrytest.Options{}, registrytest.Options{})
	f.PushTo(s.src, "app", "1", imagetest.Top)
	f.PushTo(s.src, "single", "1", "amd64")
	text := "defaults: {platforms: [linux/amd64], sparse: strip}\nimages:\n- {source: SRC/app:1, destination: DST/app, system: %s}\n"
	memory := filepath.Join(t.TempDir(), "state")
	for _, arch := range []string{"arm64", "amd64"} {
		s.write(fmt.Sprintf(text, "linux/"+arch))
		assert.Equal(t, f.Digest(arch), s.syncJSON(StatusDone, "--dry-run").Images[0].DestinationDigest)
		for _, want := range []imageStatus{imageCopied, imagePresent} {
			image := s.syncJSON(StatusDone, "--state", memory).Images[0]
			assert.Equal(t, want, image.Status)
			assert.Equal(t, f.Digest(arch), image.DestinationDigest)
			assert.Equal(t, f.Digest(imagetest.Top), image.SourceDigest)
		}
		mirror(t, "verify", s.file).done(t)
	}
	s.write(fmt.Sprintf(text, "linux/s390x"))
	s.sync("--state", memory).failed(t, StatusFailed, "s390x")
	s.write("images:\n- {source: SRC/single:1, destination: DST/single, system: linux/s390x}\n")
	s.sync().done(t)
}
