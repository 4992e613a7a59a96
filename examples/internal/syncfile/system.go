package syncfile

import (
	"cmp"
	"runtime"
	"slices"
	"strings"

	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/copy"
	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/transform"
)

// keySystem is a key, nativeSystem its value for the system of this machine, and noSystem the one
// that takes back what the defaults say.
const (
	keySystem    = "system"
	nativeSystem = "native"
	noSystem     = "none"
)

// system is the system whose image is copied, and no list.
type system struct{ os, arch, variant string } // empty for this machine's

// listKeys have a meaning only where a list is copied.
var listKeys = []string{
	"platforms", "optional", "required", "sparse", "attestations", "missing", "single", "platformless-entries",
	"entries-as-referrers", "widened-child-tags", "list-signatures", "remove-list-signatures", transform.AttachOriginal,
}

// selectingKeys are those of them that say that a list is copied.
var selectingKeys = []string{"platforms", "optional"}

// ownSystem takes out of the keys that an image has by default those that mean nothing beside its
// own: what is about lists, if it has a system, and the system, if it selects from a list. It
// reports whether one image is copied.
func (p *parser) ownSystem(keys, own map[string]*yaml.Node) bool {
	has := func(key string) bool { return own[key] != nil }
	if !has(keySystem) && slices.ContainsFunc(selectingKeys, has) {
		delete(keys, keySystem)
	}
	n := keys[keySystem]
	if has(keySystem) {
		n = own[keySystem]
	}
	if n == nil || resolve(n).Value == noSystem {
		return false
	}
	for _, key := range listKeys {
		delete(keys, key)
		if has(key) {
			p.problem(own[key].Line, "%s has no effect with %s, by which one image is copied and no list", key, keySystem)
		}
	}
	return true
}

var platformPart = late.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// systemImage is the setting of the system.
func systemImage(p *parser, i *Image, n *yaml.Node) {
	text, ok := p.scalar(n, keySystem)
	if !ok || text == noSystem {
		return
	}
	if text == nativeSystem {
		i.system = &system{}
		return
	}
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.ContainsFunc(parts, func(part string) bool { return !platformPart().MatchString(part) }) {
		p.problem(n.Line, "%s: write OS/ARCH or OS/ARCH/VARIANT, such as linux/arm64, %s for this machine's, or %s, not %q", keySystem, nativeSystem, noSystem, text)
		return
	}
	filter, err := copy.ParsePlatformFilter(text)
	if err != nil {
		p.problem(n.Line, "%s: %v", keySystem, err)
		return
	}
	i.system = &system{os: filter.OS, arch: filter.Architecture, variant: filter.Variant}
}

// fingerprinted returns keys as they are to be fingerprinted: this machine's system is not that of
// another one, and none is as if the key were not there.
func (s *system) fingerprinted(keys map[string]*yaml.Node) map[string]*yaml.Node {
	switch {
	case s == nil:
		delete(keys, keySystem)
	case *s == system{}:
		keys[keySystem] = &yaml.Node{Kind: yaml.ScalarNode, Value: nativeSystem + " " + runtime.GOOS + "/" + runtime.GOARCH}
	}
	return keys
}

// SourceContext returns the context of the image's sources: sys with the system that the file asks
// for.
func (i *Image) SourceContext(sys *types.SystemContext) *types.SystemContext {
	if i.system == nil {
		return sys
	}
	own := types.SystemContext{}
	if sys != nil {
		own = *sys
	}
	own.OSChoice, own.ArchitectureChoice, own.VariantChoice = i.system.os, i.system.arch, i.system.variant
	return &own
}

// Platforms returns the platforms whose images are copied, nil for all.
func (i *Image) Platforms() []copy.InstancePlatformFilter {
	if s := i.system; s != nil {
		return []copy.InstancePlatformFilter{{
			OS: cmp.Or(s.os, runtime.GOOS), Architecture: cmp.Or(s.arch, runtime.GOARCH), Variant: s.variant,
		}}
	}
	return slices.Concat(i.Options.InstancePlatforms, i.Options.OptionalPlatforms)
}
