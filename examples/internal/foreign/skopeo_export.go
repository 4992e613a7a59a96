package foreign

import (
	"fmt"
	"path"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/tagselect"
)

var skopeoExport = Export{
	Name:  "skopeo",
	Title: "Skopeo's sync YAML",
	Keys: []Key{
		{"images[].source", "*.images.*", "images that are in no registry are lost"},
		{"images[].tags[]", "*.images.*[]", "a glob becomes a regular expression; `*` an empty list"},
		{"images[].tags[].regexp", "*.images-by-tag-regex.*", "several of a repository become one, with `|` between them"},
		{"images[].tags[].semver", "*.images-by-semver.*", "the same, with `||`; Skopeo takes dates for versions, too"},
		{"images[].tags[].suffix", "", "Skopeo has no ranges of versions with a suffix, and so the range is lost"},
		{"images[].tags[].all", "", "Skopeo cannot combine patterns"},
		{"images[].tags[].not", "", "Skopeo cannot exclude tags"},
		{"images[].exclude-tags", "", "Skopeo cannot exclude tags, and copies these, too"},
		{"images[].prereleases", "", "Skopeo takes those that the range names"},
		{"images[].destination", "--scoped, --append-suffix", "the command line says it for all images, with TO. What has no place below what it says is left out"},
		{"images[].system", "--override-os, --override-arch, --override-variant", "the command line says it for all images; `native` needs no flag, and without `system`, it is `--all`"},
		{"images[].preserve-digests", "--preserve-digests", "the command line says it for all images"},
		{"images[].remove-signatures", "--remove-signatures", "the command line says it for all images"},
		{"images[].digest-tags", "*.images.*", "`all`, where all tags are copied; otherwise it is lost"},
		{"images[].platforms", "", "Skopeo copies all of a list, or the image for one system"},
		{"images[].optional", "", "Skopeo copies all of a list, or the image for one system"},
		{"registries[].tls-verify", "*.tls-verify", "of registries that images are read from"},
		{"registries[].cert-dir", "*.cert-dir", "of registries that images are read from"},
		{"registries[].authfile", "", "the command line has `--src-authfile` and `--dest-authfile`"},
	},
	write: writeSkopeo,
}

// A skopeoWriter writes one of Skopeo's files.
type skopeoWriter struct {
	*exporter
	registries map[string]*writtenRegistry // by host
	order      []string                    // of the hosts
	command    *skopeoCommand              // nil before the first image
	from       *node                       // what the command comes from
}

// A writtenRegistry is what the file says of a registry.
type writtenRegistry struct {
	images         map[string][]string
	regexp, semver map[string]string
	access         map[string]any // tls-verify and cert-dir
}

// A skopeoCommand is what only the command line can say.
type skopeoCommand struct {
	transport, to    string
	scoped           bool
	suffix           string
	system           string
	preserveDigests  bool
	removeSignatures bool
}

func (c skopeoCommand) String() string {
	args := "skopeo"
	var all string
	switch parts := strings.Split(c.system, "/"); {
	case c.system == "":
		all = " --all"
	case len(parts) > 1:
		for i, flag := range []string{"os", "arch", "variant"}[:len(parts)] {
			args += " --override-" + flag + " " + parts[i]
		}
	}
	args += " sync --src yaml --dest " + c.transport + all
	for _, flag := range []struct {
		set  bool
		text string
	}{
		{c.scoped, "--scoped"}, {c.suffix != "", "--append-suffix " + c.suffix},
		{c.preserveDigests, "--preserve-digests"}, {c.removeSignatures, "--remove-signatures"},
	} {
		if flag.set {
			args += " " + flag.text
		}
	}
	return args + " FILE " + c.to
}

func writeSkopeo(x *exporter) *yaml.Node {
	w := &skopeoWriter{exporter: x, registries: map[string]*writtenRegistry{}}
	for _, image := range x.images {
		if named := x.repository(image); named != nil && w.fits(image, named) {
			w.image(image, named)
		}
	}
	for _, n := range x.top.key("registries").elements() {
		w.access(n)
	}
	if w.command != nil {
		w.note(nil, "type %s", w.command)
	}
	return w.tree()
}

// fits reports whether an image can be copied by the same command line as those before it. If not,
// it is lost.
func (w *skopeoWriter) fits(image exportedImage, named reference.Named) bool {
	command, why := w.commandOf(image, named)
	switch {
	case why != "":
		w.lost(image.node, "%s", why)
		return false
	case w.command == nil:
		w.command, w.from = command, image.node
	case *w.command != *command:
		w.lost(image.node, "it needs another command line than the image in line %d: %s", w.from.line, command)
		return false
	}
	return true
}

// commandOf is the command line that an image needs, or why there is none.
func (w *skopeoWriter) commandOf(image exportedImage, named reference.Named) (command *skopeoCommand, why string) {
	preserve, _ := image.key("preserve-digests").bool()
	remove, _ := image.key("remove-signatures").bool()
	c := &skopeoCommand{system: image.key("system").text(), preserveDigests: preserve, removeSignatures: remove}
	destination := image.key("destination").text()
	c.transport, c.to, _ = strings.Cut(destination, ":")
	if c.transport != "docker" && c.transport != "dir" {
		return nil, fmt.Sprintf("Skopeo syncs to docker: and dir: alone, not to %s", destination)
	}
	c.to = strings.TrimPrefix(c.to, "//")
	if why := c.version(named); why != "" {
		return nil, why
	}
	name := reference.Path(named)
	for _, scoped := range []string{"{registry}/{repository}", named.Name()} {
		if to, ok := strings.CutSuffix(c.to, "/"+scoped); ok && !strings.Contains(reference.Domain(named), ":") {
			c.to, c.scoped = to, true
			return c, ""
		}
	}
	for _, last := range []string{"{name}", path.Base(name)} {
		if to, ok := strings.CutSuffix(c.to, "/"+last); ok && !hasVariables(to) {
			c.to = to
			return c, ""
		}
	}
	return nil, fmt.Sprintf("Skopeo puts images below one place, under the last part of their names or under all of them, and so none at %s", destination)
}

// version takes the tag or digest off the destination, and the suffix of the tag with it.
func (c *skopeoCommand) version(named reference.Named) (why string) {
	if digested, ok := named.(reference.Digested); ok {
		before, byDigest := strings.CutSuffix(c.to, "@"+digested.Digest().String())
		if _, hasTag := named.(reference.Tagged); hasTag && !byDigest {
			return "Skopeo gives no tag to what it reads by digest"
		}
		c.to = before
	}
	if before, suffix, found := strings.Cut(c.to, ":{tag}"); found {
		c.to, c.suffix = before, suffix
		return ""
	}
	last := c.to[strings.LastIndex(c.to, "/")+1:]
	before, tag, hasTag := strings.Cut(last, ":")
	switch tagged, ok := named.(reference.Tagged); {
	case !hasTag && c.transport == "dir":
		return "Skopeo's directories end with the tag"
	case !hasTag:
		return ""
	case ok && strings.HasPrefix(tag, tagged.Tag()):
		c.suffix = strings.TrimPrefix(tag, tagged.Tag())
		c.to = strings.TrimSuffix(c.to, last) + before
		return ""
	}
	return "Skopeo gives images no other tags"
}

// image writes an image.
func (w *skopeoWriter) image(image exportedImage, named reference.Named) {
	host, name := reference.Domain(named), reference.Path(named)
	registry := w.registries[host]
	if registry == nil {
		registry = &writtenRegistry{images: map[string][]string{}, regexp: map[string]string{}, semver: map[string]string{}, access: map[string]any{}}
		w.registries[host], w.order = registry, append(w.order, host)
	}
	tags := image.key("tags")
	if tags == nil {
		registry.add(name, versionOf(named))
		return
	}
	all := false
	for _, e := range tags.elements() {
		all = w.tag(registry, name, e) || all
	}
	if all {
		registry.images[name] = []string{}
	}
	switch d := image.key("digest-tags"); {
	case all && d.text() != "all":
		w.note(tags, "Skopeo copies the tags that are named after digests, too")
	case !all && d != nil && d.text() != "false":
		w.lost(d, "%s", w.format.row(d.names()).Why)
	}
}

// versionOf is the tag or digest of an image.
func versionOf(named reference.Named) string {
	switch named := reference.TagNameOnly(named).(type) {
	case reference.Digested:
		return named.Digest().String()
	case reference.Tagged:
		return named.Tag()
	}
	return ""
}

// add adds a tag or digest, unless all of the repository are copied.
func (r *writtenRegistry) add(name, version string) {
	if old, ok := r.images[name]; !ok || len(old) > 0 {
		r.images[name] = append(old, version)
	}
}

// tag writes an element of tags, and reports whether it is all of them.
func (w *skopeoWriter) tag(registry *writtenRegistry, name string, e *node) (all bool) {
	if e.kind == yaml.MappingNode {
		w.pattern(registry, name, e)
		return false
	}
	switch text := e.text(); {
	case text == "*":
		return true
	case tagselect.IsGlob(text):
		expression, err := tagselect.GlobExpression(text)
		if err != nil {
			w.problem(e, "%v", err)
			return false
		}
		registry.regexp[name] = joined(registry.regexp[name], "|", expression.String())
	default:
		registry.add(name, text)
	}
	return false
}

// pattern writes an element of tags that is a mapping, if it is one that Skopeo has.
func (w *skopeoWriter) pattern(registry *writtenRegistry, name string, e *node) {
	switch {
	case e.child("suffix") != nil:
		e.key("semver")
	case e.child("regexp") != nil:
		registry.regexp[name] = joined(registry.regexp[name], "|", "^(?:"+e.key("regexp").text()+")$")
	case e.child("semver") != nil:
		registry.semver[name] = joined(registry.semver[name], " || ", e.key("semver").text())
	}
}

func joined(one, separator, other string) string {
	if one == "" {
		return other
	}
	return one + separator + other
}

// access writes how a registry is reached.
func (w *skopeoWriter) access(n *node) {
	host := n.key("registry").text()
	registry := w.registries[host]
	if registry == nil {
		w.lost(n, "no image is read from it; for destinations, the command line has --dest-tls-verify and --dest-cert-dir")
		return
	}
	if verify, set := n.key("tls-verify").bool(); set {
		registry.access["tls-verify"] = verify
	}
	if dir := n.key("cert-dir"); dir != nil {
		registry.access["cert-dir"] = strings.ReplaceAll(dir.text(), "$${", "${")
	}
}

// tree is the file.
func (w *skopeoWriter) tree() *yaml.Node {
	tree := mapping()
	for _, host := range w.order {
		registry := w.registries[host]
		one := treeOfMap(registry.access)
		for _, part := range []struct {
			key  string
			tree *yaml.Node
		}{
			{"images", treeOfMap(registry.images)}, {"images-by-tag-regex", treeOfMap(registry.regexp)}, {"images-by-semver", treeOfMap(registry.semver)},
		} {
			if len(part.tree.Content) > 0 {
				add(one, part.key, part.tree)
			}
		}
		add(tree, host, one)
	}
	return tree
}
