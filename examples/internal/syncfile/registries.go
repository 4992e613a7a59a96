package syncfile

import (
	"strings"

	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"
)

// A Registry says how a registry is reached, whatever is read from it or written to it. What it
// does not say has its zero value.
type Registry struct {
	Line      int    // of the file, from 1
	Name      string // HOST[:PORT], as in references
	TLSVerify types.OptionalBool
	// The paths of a directory with certificates, and of a file with credentials. Nobody has looked
	// at them.
	CertDir, AuthFile string
}

// The keys of a registry.
const (
	keyRegistry  = "registry"
	keyTLSVerify = "tls-verify"
	keyCertDir   = "cert-dir"
	keyAuthFile  = "authfile"
)

var registryKeys = []string{keyRegistry, keyTLSVerify, keyCertDir, keyAuthFile}

// reachedRegistries reads how registries are reached.
func (p *parser) reachedRegistries(node *yaml.Node) []Registry {
	var all []Registry
	lines := map[string]int{}
	for _, element := range p.sequence(node, "registries") {
		keys := p.mapping(element, "a registry", registryKeys)
		if keys == nil {
			continue
		}
		registry := p.registry(element.Line, keys)
		name := strings.ToLower(registry.Name)
		if line, twice := lines[name]; twice && name != "" {
			p.problem(element.Line, "the registry in line %d is %s, too: say it all in one place", line, registry.Name)
		}
		lines[name] = element.Line
		all = append(all, registry)
	}
	return all
}

func (p *parser) registry(line int, keys map[string]*yaml.Node) Registry {
	registry := Registry{Line: line}
	if n := keys[keyRegistry]; n == nil {
		p.problem(line, "a registry has no key %s, which names it: HOST or HOST:PORT", keyRegistry)
	} else if text, ok := p.environed(n, keyRegistry, nil); ok {
		registry.Name = text
		p.registryName(n, text)
	}
	if keys[keyTLSVerify] == nil && keys[keyCertDir] == nil && keys[keyAuthFile] == nil {
		p.problem(line, "the registry has none of %s, %s and %s", keyTLSVerify, keyCertDir, keyAuthFile)
	}
	if n := keys[keyTLSVerify]; n != nil {
		choose(p, n, keyTLSVerify, &registry.TLSVerify, map[string]types.OptionalBool{"true": types.OptionalBoolTrue, "false": types.OptionalBoolFalse})
	}
	path := func(key string) string {
		if keys[key] == nil {
			return ""
		}
		text, ok := p.environed(keys[key], key, nil)
		if !ok {
			return ""
		}
		return p.path(text)
	}
	registry.CertDir, registry.AuthFile = path(keyCertDir), path(keyAuthFile)
	return registry
}

// registryName refuses what references do not call a registry.
func (p *parser) registryName(n *yaml.Node, text string) {
	switch {
	case isRegistry(text):
	case text == "index.docker.io":
		p.problem(n.Line, "%s: references call %s docker.io", keyRegistry, text)
	default:
		p.problem(n.Line, "%s: write HOST or HOST:PORT, as in references, not %q", keyRegistry, text)
	}
}
