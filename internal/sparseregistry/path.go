package sparseregistry

import (
	"errors"
	"path"
	"regexp"
	"strings"
	"sync"
)

// A target is what a path names in a repository.
type target struct {
	kind       string // "manifests", "blobs", or "" for everything else: repository and reference are "" then
	repository string
	reference  string // the last component: a tag or a digest, unchecked
}

// maxName is how many characters a repository's name may have.
const maxName = 255

// name is what the OCI distribution specification v1.1 calls <name>.
var name = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
})

// validName reports whether a repository can have the given name.
func validName(s string) bool { return len(s) <= maxName && name().MatchString(s) }

var errUnclean = errors.New("path has empty, '.' or '..' components, or a '/' after a reference")

// parsePath tells what a decoded path names. The last but one component decides, because
// "manifests" and "blobs" are legal components of a repository's name. It refuses paths that
// another router could clean up to mean something else.
func parsePath(p string) (target, error) {
	trimmed, slash := strings.CutSuffix(p, "/")
	if p != "/" && (len(trimmed) < 2 || trimmed != path.Clean("/"+trimmed)) {
		return target{}, errUnclean
	}
	parts := strings.Split(trimmed, "/")[1:]
	n := len(parts)
	if n < 4 || parts[0] != "v2" {
		return target{}, nil
	}
	switch kind := parts[n-2]; kind {
	case "manifests", "blobs":
		if kind == "blobs" && parts[n-1] == "uploads" {
			return target{}, nil // starts an upload
		}
		if slash {
			return target{}, errUnclean
		}
		return target{kind: kind, repository: strings.Join(parts[1:n-2], "/"), reference: parts[n-1]}, nil
	default:
		return target{}, nil
	}
}
