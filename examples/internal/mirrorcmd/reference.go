package mirrorcmd

import (
	"strings"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// parseReferences parses SOURCE and DESTINATION.
func parseReferences(args []string) (source, destination types.ImageReference, err error) {
	if source, err = parseReference("SOURCE", args[0]); err != nil {
		return nil, nil, err
	}
	destination, err = parseReference("DESTINATION", args[1])
	return source, destination, err
}

// parseReference parses a reference with a transport. what is its name in errors. A source with tag
// and digest is what has the digest.
func parseReference(what, text string) (types.ImageReference, error) {
	name, rest, found := strings.Cut(text, ":")
	known := found && transports.Get(name) != nil
	switch {
	case (!known || name == "docker") && hasCredentials(rest):
		return nil, misusef("%s has a user before its host, which references cannot; use %s", what, credentialFlags(what))
	case !known:
		return nil, misusef("%s %q names no transport; for a repository of a registry write docker://%s, for a layout oci:DIRECTORY:TAG", what, text, text)
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
		return nil, misusef("%s %q: %w", what, text, err)
	}
	return ref, nil
}

// namesTransport reports whether a text begins with the name of a transport, as references do.
func namesTransport(text string) bool {
	name, _, found := strings.Cut(text, ":")
	return found && transports.Get(name) != nil
}

// parseRepository parses the name of a repository of a registry. A tag or digest in it does not
// matter.
func parseRepository(text string) (types.ImageReference, error) {
	if !strings.HasPrefix(text, "docker://") {
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

// hasCredentials reports whether there is an "@" that does not begin a digest, as before the host
// of URLs.
func hasCredentials(rest string) bool {
	name, suffix, _ := lastCut(rest, "@")
	if !strings.HasPrefix(suffix, "sha") {
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
