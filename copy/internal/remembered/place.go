package remembered

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"go.podman.io/image/v5/types"
)

// Directory returns where containers/image keeps its blob-info cache for who runs this: what sys,
// which may be nil, says; or a directory of the system for root, and one in the home for others. It
// need not exist. The error says that there is no home.
func Directory(sys *types.SystemContext) (string, error) {
	if sys != nil && sys.BlobInfoCacheDir != "" {
		return sys.BlobInfoCacheDir, nil
	}
	if user() == 0 {
		root := "/"
		if sys != nil && sys.RootForImplicitAbsolutePaths != "" {
			root = sys.RootForImplicitAbsolutePaths
		}
		return filepath.Join(root, "var", "lib", "containers", "cache"), nil
	}
	data := os.Getenv("XDG_DATA_HOME")
	if home := os.Getenv("HOME"); data == "" && home != "" {
		data = filepath.Join(home, ".local", "share")
	}
	if data == "" {
		return "", errors.New("neither XDG_DATA_HOME nor HOME is set")
	}
	return filepath.Join(data, "containers", "cache"), nil
}

// user returns the number of the user, who in the user namespace of a rootless Podman is not root.
func user() int {
	if outside := os.Getenv("_CONTAINERS_ROOTLESS_UID"); outside != "" {
		n, _ := strconv.Atoi(outside) // 0 for what is no number, as containers/image takes it
		return n
	}
	return os.Geteuid()
}

// Repository names the place that has the image which ref names, among others: a repository of a
// registry, or a layout.
func Repository(ref types.ImageReference) string {
	within := ref.StringWithinTransport()
	if wider := ref.PolicyConfigurationNamespaces(); len(wider) > 0 {
		within = wider[0]
	}
	return ref.Transport().Name() + ":" + within
}
