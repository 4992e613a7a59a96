package registrystore

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Root is the directory of a storage that has all that is distribution's.
const Root = "docker"

// The layout that distribution gives its storage, version 2, and ours beside it.
const (
	blobsRoot        = "/" + Root + "/registry/v2/blobs"
	repositoriesRoot = "/" + Root + "/registry/v2/repositories"

	// Directories of a repository. Components of names cannot begin with "_".
	manifestsDirectory = "_manifests"
	layersDirectory    = "_layers"
	uploadsDirectory   = "_uploads"
	referrersDirectory = "_referrers" // ours

	revisionsDirectory = manifestsDirectory + "/revisions"
	tagsDirectory      = manifestsDirectory + "/tags"
	currentDirectory   = "current" // of a tag
	indexDirectory     = "index"   // of a tag: all that it has ever named

	linkFile = "link"
	dataFile = "data" // of a blob, and of an upload
)

// Directories are those in which distribution writes everything, in a storage directory. They need
// not be there yet.
func Directories(storage string) []string {
	return []string{filepath.Join(storage, filepath.FromSlash(blobsRoot)), filepath.Join(storage, filepath.FromSlash(repositoriesRoot))}
}

// component matches what can be a component of a repository's name. That is wider than the
// specification's grammar (sparseregistry.ValidName): distribution takes names that begin with a
// domain, in upper case, too, and what such a repository has must not be taken for garbage.
var component = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// checkRepository refuses what is no repository's name and could lead elsewhere.
func checkRepository(name string) error {
	for part := range strings.SplitSeq(name, "/") {
		if !component.MatchString(part) {
			return fmt.Errorf("%q is no name of a repository", name)
		}
	}
	return nil
}

// tagName matches a tag.
var tagName = regexp.MustCompile(`^[\w][\w.-]{0,127}$`)

func checkTag(tag string) error {
	if !tagName.MatchString(tag) {
		return fmt.Errorf("%q is no tag", tag)
	}
	return nil
}

// repositoryPath is the path of what the elements name in a repository.
func repositoryPath(repository string, elements ...string) (string, error) {
	if err := checkRepository(repository); err != nil {
		return "", err
	}
	return path.Join(append([]string{repositoriesRoot, repository}, elements...)...), nil
}

// digestPath is where something is among other things that are ordered by their digests.
func digestPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return string(d.Algorithm()) + "/" + d.Encoded(), nil
}

// blobPath is the directory of a blob.
func blobPath(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("digest %q: %w", d, err)
	}
	return path.Join(blobsRoot, string(d.Algorithm()), d.Encoded()[:2], d.Encoded()), nil
}

// linkedPath is where a link under a directory of a repository is, as the directory that has the
// link.
func linkedPath(repository, directory string, digests ...digest.Digest) (string, error) {
	elements := []string{directory}
	for _, d := range digests {
		p, err := digestPath(d)
		if err != nil {
			return "", err
		}
		elements = append(elements, p)
	}
	return repositoryPath(repository, elements...)
}

// parseDigests reads n digests off the end of a path below root: <algorithm>/<hex> each. ok is
// false if the path is not of this form.
func parseDigests(root, p string, n int) (digests []digest.Digest, ok bool) {
	parts := strings.Split(strings.TrimPrefix(p, root+"/"), "/")
	if len(parts) != 2*n {
		return nil, false
	}
	for i := 0; i < len(parts); i += 2 {
		d := digest.NewDigestFromEncoded(digest.Algorithm(parts[i]), parts[i+1])
		if d.Validate() != nil {
			return nil, false
		}
		digests = append(digests, d)
	}
	return digests, true
}

// parseBlob reads the digest off the path of a blob's data.
func parseBlob(p string) (digest.Digest, bool) {
	parts := strings.Split(strings.TrimPrefix(p, blobsRoot+"/"), "/")
	if len(parts) != 4 || parts[3] != dataFile || !strings.HasPrefix(parts[2], parts[1]) || len(parts[1]) != 2 {
		return "", false
	}
	d := digest.NewDigestFromEncoded(digest.Algorithm(parts[0]), parts[2])
	return d, d.Validate() == nil
}
