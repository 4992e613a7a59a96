package mirrorcmd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestFlagsWithoutEffect: flags that would be without effect are refused before anything is
// read or written.
func TestFlagsWithoutEffect(t *testing.T) {
	t.Chdir(t.TempDir())
	const registry, layout = "docker://127.0.0.1:1/a:1", "oci:layout:1"
	for _, c := range []struct{ flag, source, destination, want string }{
		{"--fsync=off", layout, registry, "--fsync=off has no effect on a copy to DESTINATION docker:, only to oci:"},
		{"--fsync=off", layout, "dir:out", "to DESTINATION dir:, only to oci:"},
		{"--hard-links", layout, registry, "--hard-links has no effect on a copy to DESTINATION docker:"},
		{"--hard-links", registry, layout, "--hard-links has no effect on a copy from SOURCE docker:, only from oci:, dir:"},
		{"--hard-links", "oci-archive:a.tar", layout, "from SOURCE oci-archive:, only from oci:, dir:"},
		{"--trust-source", layout, "oci-archive:a.tar", "--trust-source has no effect on a copy to DESTINATION oci-archive:"},
		{"--trust-source", registry, layout, "from SOURCE docker:, only from oci:, oci-archive:, dir:"},
		{"--chunk-size=64M", registry, layout, "--chunk-size has no effect on a copy to DESTINATION oci:, only to docker:"},
		{"--resume-dir=begun", registry, layout, "--resume-dir has no effect on a copy to DESTINATION oci:, only to docker:"},
	} {
		mirror(t, "copy", c.flag, c.source, c.destination).failed(t, StatusMisused, c.want)
	}
	require.NoError(t, imagetest.Platforms(2, 1, 1000).WriteLayout("layout", "1", imagetest.Top))
	mirror(t, "copy", "--fsync=on", layout, "dir:one").done(t)
	mirror(t, "copy", "--fsync=off", "--hard-links", "--trust-source", "dir:one", "oci:other:1").done(t)
	mirror(t, "copy", layout, "oci-archive:a.tar:1").done(t)
	mirror(t, "copy", "--trust-source", "oci-archive:a.tar:1", "oci:third:1").done(t)
}
