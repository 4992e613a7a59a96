package remembered

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache"
	"go.podman.io/image/v5/types"
)

// TestDirectory is the one that containers/image uses, which it removes when it is asked to.
func TestDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		user, data, home string
		sys              func(dir string) *types.SystemContext
		want             string // "" for none
	}{
		"home":          {user: "1000", home: "home", want: "home/.local/share/containers/cache"},
		"data":          {user: "1000", home: "home", data: "data", want: "data/containers/cache"},
		"data only":     {user: "1000", data: "data", want: "data/containers/cache"},
		"no home":       {user: "1000"},
		"said":          {user: "1000", sys: said, want: "said"},
		"said to root":  {user: "0", sys: said, want: "said"},
		"root":          {user: "0", home: "home", sys: rooted, want: "root/var/lib/containers/cache"},
		"no number":     {user: "nobody", home: "home", sys: rooted, want: "root/var/lib/containers/cache"},
		"rooted others": {user: "1000", home: "home", sys: rooted, want: "home/.local/share/containers/cache"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in := func(sub string) string {
				if sub == "" {
					return ""
				}
				return filepath.Join(dir, sub)
			}
			t.Setenv("_CONTAINERS_ROOTLESS_UID", c.user)
			t.Setenv("XDG_DATA_HOME", in(c.data))
			t.Setenv("HOME", in(c.home))
			var sys *types.SystemContext
			if c.sys != nil {
				sys = c.sys(dir)
			}
			got, err := Directory(sys)
			if c.want == "" {
				assert.EqualError(t, err, "neither XDG_DATA_HOME nor HOME is set")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, in(c.want), got)
			require.NoError(t, os.MkdirAll(got, 0o700))
			require.NoError(t, blobinfocache.CleanupDefaultCache(sys))
			assert.NoDirExists(t, got)
		})
	}
	t.Run("root of the system", func(t *testing.T) {
		t.Setenv("_CONTAINERS_ROOTLESS_UID", "0")
		got, err := Directory(nil)
		require.NoError(t, err)
		assert.Equal(t, filepath.FromSlash("/var/lib/containers/cache"), got)
	})
}

func said(dir string) *types.SystemContext {
	return &types.SystemContext{BlobInfoCacheDir: filepath.Join(dir, "said"), RootForImplicitAbsolutePaths: filepath.Join(dir, "root")}
}

func rooted(dir string) *types.SystemContext {
	return &types.SystemContext{RootForImplicitAbsolutePaths: filepath.Join(dir, "root")}
}

// TestRepository: what has different tags or digests there is in one repository.
func TestRepository(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(dir, link))
	transports := map[string]types.ImageTransport{
		"docker": docker.Transport, "oci": layout.Transport, "oci-archive": archive.Transport,
	}
	for text, want := range map[string]string{
		"docker://registry.example:5000/team/app:1.0": "docker:registry.example:5000/team/app",
		"docker://registry.example:5000/team/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855": "docker:registry.example:5000/team/app",
		"docker://registry.example/team/app": "docker:registry.example/team/app",
		"docker://busybox":                   "docker:docker.io/library/busybox",
		"oci:" + dir + ":a":                  "oci:" + dir,
		"oci:" + link:                        "oci:" + dir,
		"oci-archive:" + dir + "/a.tar:b":    "oci-archive:" + dir + "/a.tar",
	} {
		name, within, _ := strings.Cut(text, ":")
		ref, err := transports[name].ParseReference(within)
		require.NoError(t, err)
		assert.Equal(t, want, Repository(ref), text)
	}
}
