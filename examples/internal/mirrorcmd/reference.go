package mirrorcmd

import (
	"cmp"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// parseReferences parses SOURCE and DESTINATION.
func (a *access) parseReferences(args []string) (source, destination types.ImageReference, err error) {
	if source, err = a.parseSource("SOURCE", args[0]); err != nil {
		return nil, nil, err
	}
	destination, err = parseDestination("DESTINATION", args[1])
	return source, destination, err
}

// parseReference parses a reference with a transport. what is its name in errors. A source with tag
// and digest is what has the digest.
func parseReference(what, text string) (types.ImageReference, error) {
	name, rest, _ := strings.Cut(text, ":")
	switch {
	case !namesTransport(text):
		if err := noImage(what, text); err != nil {
			return nil, err
		}
		return nil, misusef("%s %q names no transport; for a repository of a registry write docker://%s, for a layout oci:DIRECTORY:TAG", what, text, text)
	case name == "docker" && hasCredentials(rest):
		return nil, withCredentials(what)
	case name == "docker" && !strings.HasPrefix(rest, "//"):
		return nil, misusef("%s %q: write docker://%s", what, text, strings.TrimLeft(rest, "/"))
	}
	if _, place, _ := inFile(text); place == "" && inFiles[name] != "" {
		kind, _, _ := strings.Cut(inFiles[name], ":")
		return nil, misusef("%s %q names no %s: write %s:%s", what, text, strings.ToLower(kind), name, inFiles[name])
	}
	if pinned := syncfile.PinnedIn(text); pinned != nil {
		if strings.EqualFold(what, "destination") {
			tagged, _, _ := lastCut(text, "@")
			return nil, misusef("%s %q has a tag and a digest: write %s, to have the image under that tag, or %s, to have it under none",
				what, text, tagged, syncfile.ByDigest(pinned))
		}
		text = syncfile.ByDigest(pinned)
	}
	ref, err := alltransports.ParseImageName(text)
	if err != nil {
		hint := ""
		if !strings.EqualFold(what, "destination") {
			hint = choicesHint(atEnd("", text, err))
		}
		return nil, misusef("%s %q: %w%s", what, text, err, hint)
	}
	return ref, nil
}

func withCredentials(what string) error {
	return misusef("%s has a user before its host, which references cannot; use %s", what, credentialFlags(what))
}

// noImage says what is wrong with a text without a transport that cannot be the name of an image of
// a registry either, nil if it can.
func noImage(what, text string) error {
	scheme, rest, hasScheme := strings.Cut(text, "://")
	switch {
	case hasCredentials(text):
		return withCredentials(what)
	case scheme == "http" && hasScheme:
		return misusef("%s %q: references have no http://; write docker://%s, and say by a flag such as --src-tls-verify=false that plain HTTP will do", what, text, rest)
	case hasScheme && !isPath(rest):
		return misusef("%s %q: there is no transport %q; did you mean %s?", what, text, scheme, meant(scheme, rest))
	case hasScheme || isPath(text):
		path := strings.TrimPrefix(text, scheme+"://")
		return misusef("%s %q is a path, and names no transport: write oci:%s:TAG for a layout, oci-archive:%s:TAG for an archive of one, or dir:%s for a directory with one image", what, text, path, path, path)
	}
	_, err := reference.ParseNormalizedNamed(text)
	if err == nil {
		return nil
	}
	if name, rest, found := strings.Cut(text, ":"); found {
		if near := spelling.Nearest(name, transports.ListNames()); near != "" {
			return misusef("%s %q: there is no transport %q; did you mean %s?", what, text, name, meant(name, rest))
		}
	}
	return misusef("%s %q names no transport, and no image of a registry: %w", what, text, err)
}

// meant is the reference that may be meant by one with an unknown transport: to a registry, if that
// is like no other.
func meant(name, rest string) string {
	near := cmp.Or(othersTransports[name], spelling.Nearest(name, transports.ListNames()))
	if near == "" || near == "docker" {
		return "docker://" + strings.TrimLeft(rest, "/")
	}
	return near + ":" + strings.TrimPrefix(rest, "//")
}

// inFiles are transports of what is in files, by what is written behind them.
var inFiles = map[string]string{"oci": "DIRECTORY:TAG", "oci-archive": "FILE:TAG", "docker-archive": "FILE:NAME", "dir": "DIRECTORY"}

// othersTransports are transports of other tools, by what they are called here.
var othersTransports = map[string]string{"ocidir": "oci", "oci-layout": "oci"}

var drive = late.Regexp(`^[A-Za-z]:[\\/]`)

// isPath reports whether a text is the path of a file, and nothing else: names of images begin with
// neither a dot nor a slash.
func isPath(text string) bool {
	return strings.HasPrefix(text, "/") || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "~") || drive().MatchString(text)
}

// namesTransport reports whether a text begins with the name of a transport, as references do.
func namesTransport(text string) bool {
	name, _, found := strings.Cut(text, ":")
	return found && transports.Get(name) != nil
}

// parseRepository parses the name of a repository of a registry, with or without its transport. A
// tag or digest in it does not matter.
func parseRepository(text string) (types.ImageReference, error) {
	if !namesTransport(text) {
		if err := noImage("REPOSITORY", text); err != nil {
			return nil, err
		}
		if namesRegistry(text) {
			text = "docker://" + text
		}
	}
	if !strings.HasPrefix(text, "docker:") {
		return nil, misusef("write docker://HOST/NAME, a repository of a registry")
	}
	return parseReference("REPOSITORY", text)
}

// credentialFlags name the flags for credentials of what a reference names.
func credentialFlags(what string) string {
	switch strings.ToUpper(what) {
	case "REFERENCE":
		return "--creds"
	case "IMAGE", "SOURCE":
		return "--src-creds"
	case "DESTINATION":
		return "--dest-creds"
	}
	return "--referrers-source-creds"
}

// digestLike is what may be meant as a digest, and is no host with a repository.
var digestLike = late.Regexp(`^sha[0-9]+:[^/]*$`)

// hasCredentials reports whether there is an "@" that does not begin a digest, as before the host
// of URLs.
func hasCredentials(rest string) bool {
	name, suffix, _ := lastCut(rest, "@")
	if !digestLike().MatchString(suffix) {
		name = rest
	}
	return strings.Contains(name, "@")
}

// lastCut is strings.Cut at the last separator.
func lastCut(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}
