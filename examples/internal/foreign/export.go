package foreign

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// An Export is a form in which sync files are written for another tool. It is not changed after it
// was made, and may be used concurrently.
type Export struct {
	Name  string // as in mirror export
	Title string // for help
	// Keys are those of sync files that are not lost, or about whose loss there is something to be
	// said. In these, Path is the key of a sync file, and Ours that of the tool, or its flag.
	// "images[].sparse" stands for the default, too.
	Keys []Key

	write func(x *exporter) *yaml.Node // the tool's file
}

// Exports returns all forms, by name.
func Exports() []*Export { return []*Export{&regsyncExport, &skopeoExport} }

// FindExport returns the form of a name. The error lists the names.
func FindExport(name string) (*Export, error) {
	var names []string
	for _, e := range Exports() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return nil, unknown(name, names)
}

// An Exported is what has become of a sync file.
type Exported struct {
	Text []byte // the tool's file
	// Lost are the keys that the tool cannot do, and Notes say what is to be done beside the file.
	// Both are in the order of lines.
	Lost, Notes []Note
}

// Export writes a sync file for the tool. name is how errors and comments call it; parse makes
// references of texts, by default as containers/image does. The environment need not have the
// file's variables, nor the machine its directories.
//
// It does not stop at what the tool cannot do: that is in Exported.Lost. An error is of type
// syncfile.Problems: content is no sync file, or nothing is left of it.
func (e *Export) Export(name string, content []byte, parse syncfile.ParseReference) (*Exported, error) {
	if parse == nil {
		parse = func(_, text string) (types.ImageReference, error) { return alltransports.ParseImageName(text) }
	}
	if _, err := syncfile.ParseIn(AnyEnvironment, name, content, AnyDirectory(parse)); err != nil {
		return nil, err
	}
	x := &exporter{reader: &reader{format: &Format{Title: e.Title, Keys: withDefaults(e.Keys)}, name: name, content: content}}
	x.read()
	tree := e.write(x)
	x.untaken(x.top)
	if len(tree.Content) == 0 {
		x.problem(nil, "%s can have none of its images; the first: %s", e.Title, x.images[0].whyLost(x))
	}
	if len(x.problems) > 0 {
		return nil, x.problems
	}
	tree.HeadComment = "# Made by mirror export."
	text, err := encode(tree)
	return &Exported{Text: text, Lost: inOrder(x.lostKeys), Notes: inOrder(x.notes)}, err
}

// withDefaults adds to keys of images those of the defaults.
func withDefaults(keys []Key) []Key {
	all := slices.Clone(keys)
	for _, k := range keys {
		if name, ofImage := strings.CutPrefix(k.Path, "images[]."); ofImage {
			all = append(all, Key{"defaults." + name, k.Ours, k.Why})
		}
	}
	return all
}

// An exporter is what an Export has at hand while it writes: the sync file as a tree, whose keys
// are taken as those of a reader are.
type exporter struct {
	*reader
	top    *node
	images []exportedImage
}

// An exportedImage is an element of images, with the defaults.
type exportedImage struct {
	*node
	defaults *node
}

// key takes the value of a key, the image's own or the default, nil if there is none.
func (i exportedImage) key(name string) *node {
	return cmp.Or(i.node.key(name), i.defaults.key(name))
}

// whyLost is what was said of an image that was lost.
func (i exportedImage) whyLost(x *exporter) string {
	for _, n := range x.lostKeys {
		if n.Key == i.path() {
			return n.Text
		}
	}
	return ""
}

// unsaid are the values of keys that say nothing, beside "none" and "false".
var unsaid = map[string]string{
	"sparse": "keep", "attestations": "default", "missing": "fail", "single": "check", "platformless-entries": "strip", "list-signatures": "guard",
	"check": "manifests", "changed-subjects": "keep", "newest-by": "version",
}

// read reads the file, and takes what says nothing.
func (x *exporter) read() {
	x.top = x.document()
	x.top.key("version")
	defaults := x.top.key("defaults")
	takeUnsaid(defaults)
	overridden := map[string]int{}
	for _, n := range x.top.key("images").elements() {
		takeUnsaid(n)
		x.images = append(x.images, exportedImage{n, defaults})
		for _, child := range n.children {
			overridden[child.name]++
		}
	}
	for name, n := range overridden {
		if n == len(x.images) {
			defaults.key(name).takeAll()
		}
	}
}

func takeUnsaid(n *node) {
	if n == nil {
		return
	}
	for _, child := range n.children {
		if slices.Contains([]string{"none", "false", unsaid[child.name]}, child.value) && child.kind == yaml.ScalarNode {
			child.taken = true
		}
	}
}

// repository is the source's repository, and its tag or digest if it has one; nil if it is in no
// registry, or depends on a variable: then the image is lost.
func (x *exporter) repository(i exportedImage) reference.Named {
	source := i.key("source")
	text, isDocker := strings.CutPrefix(source.text(), "docker://")
	switch named, err := reference.ParseNormalizedNamed(text); {
	case strings.Contains(text, "${"):
		x.lost(i.node, "its source has a variable, and %s has none", x.format.Title)
	case !isDocker || err != nil:
		x.lost(i.node, "its source is in no registry")
	default:
		return named
	}
	return nil
}

// treeOfMap makes YAML of keys and values, which are sorted.
func treeOfMap[V any](m map[string]V) *yaml.Node {
	tree := mapping()
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var value, name yaml.Node
		_ = value.Encode(m[key]) // which fails for no text, list or mapping
		name.SetString(key)
		tree.Content = append(tree.Content, &name, &value)
	}
	return tree
}
