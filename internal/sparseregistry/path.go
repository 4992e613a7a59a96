package sparseregistry

import (
	"errors"
	"path"
	"regexp"
	"strings"
	"sync"
)

// A Path is what a path of the API names in a repository.
type Path struct {
	Kind       Kind
	Repository string // unchecked
	Reference  string // the last component, unchecked: a tag, a digest, the name of an upload
}

// A Kind says what a path is about.
type Kind string

// What paths are about. The Reference of Uploads is "" for the path at which they begin.
const (
	Manifests Kind = "manifests"
	Blobs     Kind = "blobs"
	Uploads   Kind = "uploads"
	Tags      Kind = "tags"
	Referrers Kind = "referrers"
)

// ParsePath tells what a decoded path names: the zero Path, and false, if that is nothing in a
// repository. The last but one component decides, because "manifests" and the like are legal
// components of a repository's name.
func ParsePath(p string) (_ Path, ok bool) {
	rest, ok := strings.CutPrefix(p, "/v2/")
	rest, reference, cut := cutLast(rest)
	repository, kind, cutAgain := cutLast(rest)
	if !ok || !cut || !cutAgain {
		return Path{}, false
	}
	named := Path{Kind: Kind(kind), Repository: repository, Reference: reference}
	switch named.Kind {
	case Manifests, Blobs, Tags, Referrers:
		return named, true
	case Uploads:
		if named.Repository, ok = strings.CutSuffix(named.Repository, "/blobs"); ok {
			return named, true
		}
	}
	return Path{}, false
}

// cutLast cuts s around its last slash. found is false if it has none.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// maxName is how many characters a repository's name may have.
const maxName = 255

const (
	// specified is what the OCI distribution specification v1.1 calls <name>.
	specified = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`

	label  = `[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?`
	domain = label + `(\.` + label + `)*`
)

var (
	specifiedName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^` + specified + `$`) })
	takenName     = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(` + domain + `/)?` + specified + `$`) })
)

// ValidName reports whether a repository can have the given name: one that the specification knows,
// or one that begins with a domain, in upper case, too, as the distribution registry takes it.
func ValidName(s string) bool { return len(s) <= maxName && takenName().MatchString(s) }

var errUnclean = errors.New("path has empty, '.' or '..' components, or a '/' after a reference")

// parseContentPath tells which manifest or blob a decoded path names: the zero Path for everything
// else. It refuses paths that another router could clean up to mean something else.
func parseContentPath(p string) (Path, error) {
	trimmed, slash := strings.CutSuffix(p, "/")
	if p != "/" && (len(trimmed) < 2 || trimmed != path.Clean("/"+trimmed)) {
		return Path{}, errUnclean
	}
	named, ok := ParsePath(trimmed)
	switch {
	case !ok, named.Kind != Manifests && named.Kind != Blobs:
		return Path{}, nil
	case named.Kind == Blobs && named.Reference == "uploads": // where they begin
		return Path{}, nil
	case slash:
		return Path{}, errUnclean
	}
	return named, nil
}
