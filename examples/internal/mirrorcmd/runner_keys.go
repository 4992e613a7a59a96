package mirrorcmd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/signature"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// keys are fingerprints of how images are copied: two copies of one image with the same key are to
// leave the same.
type keys struct {
	common string // what flags say for all images

	mu   sync.Mutex
	each map[string]digest.Digest // those that are known, by settings and files
}

// of returns the key of an image: of what the file says, of the files that it names as they are
// now, and of the flags.
func (k *keys) of(image *syncfile.Image) digest.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	same := string(image.Settings) + "\n" + strings.Join(image.Files, "\n")
	if key := k.each[same]; key != "" {
		return key
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", k.common, image.Settings)
	for _, path := range image.Files {
		b.WriteString(contentOf(path) + "\n")
	}
	if k.each == nil {
		k.each = map[string]digest.Digest{}
	}
	k.each[same] = digest.FromString(b.String())
	return k.each[same]
}

// commonKey stands for what the flags say for all images: the signature policy, with what the files
// have that it names, and where signatures are.
func commonKey(policy *signature.Policy, access *access) (string, error) {
	text, err := json.Marshal(policy)
	if err != nil {
		return "", err
	}
	var said any
	if err := json.Unmarshal(text, &said); err != nil {
		return "", err
	}
	key := string(text) + "\n" + access.registriesD
	for _, path := range append(pathsIn(said), signaturePlaces(access.registriesD)...) {
		key += "\n" + contentOf(path)
	}
	return key, nil
}

// signaturePlaces returns the files that say where signatures are: those of a registries.d, or, if
// none is given, of the user's and the system's.
func signaturePlaces(registriesD string) []string {
	dirs := []string{registriesD}
	if registriesD == "" {
		home, _ := os.UserHomeDir()
		dirs = []string{filepath.Join(home, ".config", "containers", "registries.d"), "/etc/containers/registries.d"}
	}
	var paths []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // one that is not there says nothing
		for _, entry := range entries {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	return paths
}

// pathsIn returns the paths in a policy: what keys have that end in Path or Paths.
func pathsIn(node any) []string {
	var paths []string
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			switch value := node[key].(type) {
			case string:
				if strings.HasSuffix(key, "Path") {
					paths = append(paths, value)
				}
			case []any:
				for _, v := range value {
					if path, ok := v.(string); ok && strings.HasSuffix(key, "Paths") {
						paths = append(paths, path)
					}
				}
			}
			paths = append(paths, pathsIn(node[key])...)
		}
	case []any:
		for _, v := range node {
			paths = append(paths, pathsIn(v)...)
		}
	}
	return paths
}

// contentOf stands for what is in a file, or for why that cannot be read.
func contentOf(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	sum := sha256.Sum256(content)
	return path + " " + hex.EncodeToString(sum[:])
}
