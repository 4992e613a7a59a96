package syncfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
)

// senderKeys are the keys of those who may notify.
var senderKeys = []string{"name", "format", "registry", "auth", "secret-file"}

// senderName is what stands in the path of a notification.
var senderName = late.Regexp(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// senders reads who may notify about the images of file.
func (p *parser) senders(node *yaml.Node, file *File) []notify.Sender {
	var all []notify.Sender
	lines := map[string]int{}
	for _, element := range p.sequence(node, "notify") {
		keys := p.mapping(element, "a sender", senderKeys)
		if keys == nil {
			continue
		}
		sender := p.sender(element.Line, keys)
		if line, twice := lines[sender.Name]; twice && sender.Name != "" {
			p.problem(element.Line, "the sender in line %d has the name %q too", line, sender.Name)
		}
		lines[sender.Name] = element.Line
		sender.Registries = p.senderRegistries(element.Line, keys["registry"], sender.Format, file)
		all = append(all, sender)
	}
	return all
}

// sender reads all about a sender but its registries. line is its own.
func (p *parser) sender(line int, keys map[string]*yaml.Node) notify.Sender {
	sender := notify.Sender{At: fmt.Sprintf("%s:%d", p.name, line)}
	required := func(key string) *yaml.Node {
		if keys[key] == nil {
			p.problem(line, "the sender has no %s", key)
		}
		return keys[key]
	}
	if n := required("name"); n != nil {
		text, ok := p.scalar(n, "name")
		if ok && !senderName().MatchString(text) {
			p.problem(n.Line, "name: %q cannot stand in the path of a notification: take letters, digits, and _, ., - between them", text)
		}
		sender.Name = text
	}
	if n := required("format"); n != nil {
		choose(p, n, "format", &sender.Format, byName(notify.Formats()))
	}
	sender.Auth = sender.Format.Auth()
	if n := keys["auth"]; n != nil {
		choose(p, n, "auth", &sender.Auth, byName([]notify.Auth{notify.Header, notify.Path, notify.Signature}))
	}
	if n := required("secret-file"); n != nil {
		if text, ok := p.scalar(n, "secret-file"); ok {
			sender.SecretFile = p.path(text)
		}
	}
	return sender
}

// byName has each of values by its own text.
func byName[T ~string](values []T) map[string]T {
	names := map[string]T{}
	for _, v := range values {
		names[string(v)] = v
	}
	return names
}

// senderRegistries reads the registries that a sender speaks of: one, or a list of all names that
// sources have for it. Without any, they are the format's. node may be nil.
func (p *parser) senderRegistries(line int, node *yaml.Node, format notify.Format, file *File) []string {
	var nodes []*yaml.Node
	switch {
	case node != nil && resolve(node).Kind == yaml.SequenceNode:
		if nodes = p.sequence(node, "registry"); len(nodes) == 0 {
			p.problem(node.Line, "registry has no elements")
		}
	case node != nil:
		nodes = []*yaml.Node{node}
	case format.Registry() != "":
		nodes = []*yaml.Node{{Kind: yaml.ScalarNode, Line: line, Value: format.Registry()}}
	case format != "":
		p.problem(line, "the sender has no registry: anybody may run a registry that sends %s, so name the one in the sources of the images", format)
	}
	known := file.registries()
	var registries []string
	for _, n := range nodes {
		text, ok := p.scalar(n, "registry")
		switch {
		case !ok:
		case !isRegistry(text):
			p.problem(n.Line, "registry: write HOST or HOST:PORT, as in the sources of the images, not %q", text)
		case len(file.Images) > 0 && !slices.Contains(known, text): // without images, there is another problem
			p.problem(n.Line, "registry: no image has a source in %s; known are %s", text, strings.Join(known, ", "))
		default:
			registries = append(registries, text)
		}
	}
	return registries
}

// isRegistry reports whether text is what references call a registry.
func isRegistry(text string) bool {
	named, err := reference.ParseNormalizedNamed(text + "/a/b")
	return err == nil && reference.Domain(named) == text
}

// registries are those that sources are in, sorted.
func (f *File) registries() []string {
	found := map[string]bool{}
	for _, image := range f.Images {
		if image.named != nil {
			found[reference.Domain(image.named)] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}
