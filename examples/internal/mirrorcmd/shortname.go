package mirrorcmd

import (
	"fmt"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
)

// parseSource parses a reference to what is read. One without a transport is in a registry; one
// without a registry is a short name, and what registries.conf says of that. what is its name for
// errors.
func (a *access) parseSource(what, text string) (types.ImageReference, error) {
	text, err := a.withTransport(what, text)
	if err != nil {
		return nil, err
	}
	return parseReference(what, text)
}

// withTransport returns what parseSource parses, with its transport.
func (a *access) withTransport(what, text string) (string, error) {
	if namesTransport(text) {
		return text, nil
	}
	if err := noImage(what, text); err != nil {
		return "", err
	}
	if namesRegistry(text) {
		return "docker://" + text, nil
	}
	long, err := a.longName(what, text)
	return "docker://" + long, err
}

// withTransports is withTransport for A and B.
func (a *access) withTransports(args []string) (all []string, err error) {
	all = make([]string, len(args))
	for i, what := range []string{"A", "B"} {
		if all[i], err = a.withTransport(what, args[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parseDestination parses a reference to what is written, or was. One without a transport is in the
// registry that it names.
func parseDestination(what, text string) (types.ImageReference, error) {
	if namesTransport(text) {
		return parseReference(what, text)
	}
	if err := noImage(what, text); err != nil {
		return nil, err
	}
	if !namesRegistry(text) {
		return nil, misusef("%s %q names neither a transport nor a registry: write docker://HOST/%s, or oci:DIRECTORY:TAG for a layout", what, text, text)
	}
	return parseReference(what, "docker://"+text)
}

// namesRegistry reports whether the name of an image begins with that of its registry, as Docker
// tells them apart: by a dot, a port or capitals, or because it is localhost.
func namesRegistry(text string) bool {
	first, _, several := strings.Cut(text, "/")
	return several && (strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first)
}

// longName returns what registries.conf makes of a short name: its alias, or the name in the only
// registry that is searched. Nobody is asked which of several is meant.
func (a *access) longName(what, text string) (string, error) {
	parsed, err := reference.Parse(text)
	if err != nil {
		return "", misusef("%s %q: %w", what, text, err)
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return "", misusef("%s %q names no image", what, text)
	}
	sys := &types.SystemContext{SystemRegistriesConfPath: a.registriesConf}
	alias, err := aliasOf(sys, named.Name())
	if err != nil {
		return "", fmt.Errorf("%s %q is a short name: %w", what, text, err)
	}
	if alias != nil {
		return alias.Name() + strings.TrimPrefix(text, named.Name()), nil
	}
	searched, err := sysregistriesv2.UnqualifiedSearchRegistries(sys)
	if err != nil {
		return "", fmt.Errorf("%s %q is a short name: %w", what, text, err)
	}
	switch len(searched) {
	case 0:
		return "", misusef("%s %q is a short name, of which registries.conf says nothing: write %s", what, text, inRegistry("docker.io", text))
	case 1:
		return inRegistry(searched[0], text), nil
	}
	var candidates []string
	for _, registry := range searched {
		candidates = append(candidates, inRegistry(registry, text))
	}
	return "", misusef("%s %q is a short name, which registries.conf has searched in several registries: write one of %s", what, text, strings.Join(candidates, ", "))
}

// aliasOf returns what a short name without tag and digest stands for, nil if it has no alias.
func aliasOf(sys *types.SystemContext, name string) (reference.Named, error) {
	mode, err := sysregistriesv2.GetShortNameMode(sys)
	if err != nil || mode == types.ShortNameModeDisabled {
		return nil, err
	}
	alias, _, err := sysregistriesv2.ResolveShortNameAlias(sys, name)
	return alias, err
}

// inRegistry is the name of an image in a registry, with what Docker Hub adds to it.
func inRegistry(registry, name string) string {
	long := registry + "/" + name
	if named, err := reference.ParseNormalizedNamed(long); err == nil {
		return named.String()
	}
	return long // whoever parses it says what is wrong
}
