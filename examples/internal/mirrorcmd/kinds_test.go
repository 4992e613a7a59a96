package mirrorcmd

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// TestFilesOfAnotherKind: whoever gives files to the wrong transport is told the right one.
func TestFilesOfAnotherKind(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, imagetest.Platforms(2, 1, 1000).WriteLayout("layout", "1", imagetest.Top))
	for _, to := range []string{"dir:one", "oci-archive:layout.tar:1", "docker-archive:saved.tar:app:1"} {
		mirror(t, "copy", "oci:layout:1", to).done(t)
	}
	require.NoError(t, os.Mkdir("empty", 0o700))
	for reference, want := range map[string]string{
		"dir:layout":                "; layout is a layout: write oci:layout:1\n",
		"dir:layout.tar":            "; layout.tar is an archive of a layout: write oci-archive:layout.tar:1\n",
		"dir:none":                  "; none is no directory with an image\n",
		"dir:empty":                 "; empty is no directory with an image\n",
		"oci:one":                   "; one is a directory with one image: write dir:one\n",
		"oci:layout.tar:1":          "; layout.tar is an archive of a layout: write oci-archive:layout.tar:1\n",
		"oci:saved.tar":             "; saved.tar is an archive of docker save: write docker-archive:saved.tar:docker.io/library/app:1\n",
		"oci:empty":                 "; empty is no layout\n",
		"oci-archive:layout":        "; layout is a layout: write oci:layout:1\n",
		"oci-archive:one":           "; one is a directory with one image: write dir:one\n",
		"oci-archive:saved.tar":     "; saved.tar is an archive of docker save: write docker-archive:saved.tar:docker.io/library/app:1\n",
		"docker-archive:layout":     "; layout is a layout: write oci:layout:1\n",
		"docker-archive:layout.tar": "; layout.tar is an archive of a layout: write oci-archive:layout.tar:1\n",
	} {
		t.Run(reference, func(t *testing.T) {
			r := mirror(t, "copy", reference, "dir:out")
			r.failed(t, r.status, want)
		})
	}
}
