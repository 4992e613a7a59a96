package foreign

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// The bounds of a file, after aliases are followed.
const (
	maxNodes = 1_000_000
	maxDepth = 100
)

// A node is a value of a file of YAML or JSON. Aliases are followed and merge keys (<<) worked in:
// each place has a node of its own.
//
// Methods that return something of what is in a node take it: it is dealt with. What is not taken
// in the end is lost. A null, and a nil *node, is a value that says nothing: an empty mapping, an
// empty list, and an empty text. What a node is and should not be is a problem of the file.
type node struct {
	r        *reader
	parent   *node  // nil at the top
	name     string // of the key, or "[2]"; "" at the top
	line     int    // of the key, if there is one
	kind     yaml.Kind
	tag      string  // of a scalar: "!!str", "!!bool", …
	value    string  // of a scalar, as it is written
	children []*node // values of a mapping, elements of a sequence
	taken    bool
}

// document returns the only document of the file, nil if there is a problem.
func (r *reader) document() *node {
	all := r.documents()
	switch {
	case len(all) == 1:
		return all[0]
	case len(all) > 1:
		r.problem(all[1], "there is more than one document")
	case len(r.problems) == 0:
		r.problem(nil, "the file is empty")
	}
	return nil
}

// documents returns the documents of the file that say anything. They are taken, what is in them is
// not.
func (r *reader) documents() []*node {
	g := grower{r: r, expanding: map[*yaml.Node]bool{}}
	decoder := yaml.NewDecoder(bytes.NewReader(asYAML(r.content)))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		switch {
		case errors.Is(err, io.EOF):
			return r.trees
		case err != nil:
			line, text := yamlProblem(err)
			r.problem(&node{line: line}, "no valid YAML: %s", text)
			return nil
		}
		top, err := g.grow(nil, "", 0, document.Content[0], 0)
		if err != nil {
			r.problem(&node{line: g.line}, "%v", err)
			return nil
		}
		if top.taken = true; !top.isNull() {
			r.trees = append(r.trees, top)
		}
	}
}

var yamlLine = late.Regexp(`^yaml: (?:line (\d+): )?`)

// yamlProblem takes an error of the YAML library apart.
func yamlProblem(err error) (line int, text string) {
	line = 1 // which the library leaves out
	if at := yamlLine().FindStringSubmatch(err.Error()); at != nil && at[1] != "" {
		line, _ = strconv.Atoi(at[1])
	}
	return line, yamlLine().ReplaceAllString(err.Error(), "")
}

// A grower makes nodes of what the YAML library has read.
type grower struct {
	r         *reader
	nodes     int
	expanding map[*yaml.Node]bool // aliases that are being followed
	line      int                 // of the last node
}

var (
	errTooMany = fmt.Errorf("with its aliases followed, the file has more than %d values", maxNodes)
	errTooDeep = fmt.Errorf("the file is nested more than %d deep", maxDepth)
	errCycle   = errors.New("an alias stands for something that it is part of")
)

// grow makes a node, of line 0 for that of what is read.
func (g *grower) grow(parent *node, name string, line int, y *yaml.Node, depth int) (*node, error) {
	if line == 0 {
		line = y.Line
	}
	g.nodes, g.line = g.nodes+1, line
	switch {
	case g.nodes > maxNodes:
		return nil, errTooMany
	case depth > maxDepth:
		return nil, errTooDeep
	}
	if y.Kind == yaml.AliasNode {
		if g.expanding[y.Alias] {
			return nil, errCycle
		}
		g.expanding[y.Alias] = true
		defer delete(g.expanding, y.Alias)
		y = y.Alias
	}
	n := &node{r: g.r, parent: parent, name: name, line: line, kind: y.Kind, tag: y.ShortTag(), value: y.Value}
	switch y.Kind {
	case yaml.SequenceNode:
		for i, c := range y.Content {
			child, err := g.grow(n, "["+strconv.Itoa(i)+"]", 0, c, depth+1)
			if err != nil {
				return nil, err
			}
			n.children = append(n.children, child)
		}
	case yaml.MappingNode:
		if err := g.mapping(n, y, depth); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// mapping adds the values of a mapping to n, and then those that it merges: its own come first.
func (g *grower) mapping(n *node, y *yaml.Node, depth int) error {
	var merged []*yaml.Node
	names := map[string]bool{}
	for i := 0; i+1 < len(y.Content); i += 2 {
		key, value := y.Content[i], y.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		g.line = y.Content[i].Line
		switch {
		case key.Kind != yaml.ScalarNode:
			return errors.New("a key is no text")
		case key.ShortTag() == "!!merge":
			merged = append(merged, value)
			continue
		case names[key.Value]:
			return fmt.Errorf("the key %q stands here twice", key.Value)
		}
		names[key.Value] = true
		child, err := g.grow(n, key.Value, y.Content[i].Line, value, depth+1)
		if err != nil {
			return err
		}
		n.children = append(n.children, child)
	}
	for _, value := range merged {
		if err := g.merge(n, names, value, depth); err != nil {
			return err
		}
	}
	return nil
}

// merge adds to n what a value of a merge key has and names lack.
func (g *grower) merge(n *node, names map[string]bool, value *yaml.Node, depth int) error {
	from, err := g.grow(nil, "", 0, value, depth+1)
	if err != nil {
		return err
	}
	mappings := []*node{from}
	if from.kind == yaml.SequenceNode {
		mappings = from.children
	}
	for _, m := range mappings {
		if m.kind != yaml.MappingNode {
			return errors.New("a merge key (<<) takes mappings")
		}
		for _, child := range m.children {
			if !names[child.name] {
				names[child.name], child.parent = true, n
				n.children = append(n.children, child)
			}
		}
	}
	return nil
}

// key takes the value of a key, nil if there is none.
func (n *node) key(name string) *node {
	for _, child := range n.mapping() {
		if child.name == name {
			child.taken = true
			return child
		}
	}
	return nil
}

// child is the value of a key of a mapping, nil if there is none. It is not taken.
func (n *node) child(name string) *node {
	if n.kind != yaml.MappingNode {
		return nil
	}
	for _, child := range n.children {
		if child.name == name {
			return child
		}
	}
	return nil
}

// entries takes the values of all keys, in the order of the file. Their names are those of the
// keys.
func (n *node) entries() []*node { return take(n.mapping()) }

// elements takes the elements of a list.
func (n *node) elements() []*node {
	if !n.is(yaml.SequenceNode, "a list") {
		return nil
	}
	return take(n.children)
}

// text is a scalar as it is written: 1.10 is no number.
func (n *node) text() string {
	if !n.is(yaml.ScalarNode, "a text") {
		return ""
	}
	return n.value
}

// bool is a boolean of YAML 1.1, as the YAML library of most tools has it; unset if there is none.
func (n *node) bool() (value, set bool) {
	switch text := strings.ToLower(n.text()); text {
	case "":
		return false, false
	case "true", "yes", "y", "on":
		return true, true
	case "false", "no", "n", "off":
		return false, true
	}
	n.r.problem(n, "%q is neither true nor false", n.value)
	return false, false
}

func (n *node) mapping() []*node {
	if !n.is(yaml.MappingNode, "a mapping of keys to values") {
		return nil
	}
	return n.children
}

// is reports whether n is of a kind. If it is of another, that is a problem.
func (n *node) is(kind yaml.Kind, what string) bool {
	if n.isNull() {
		return false
	}
	if n.kind != kind {
		n.r.problem(n, "this must be %s", what)
		return false
	}
	return true
}

// isNull reports whether n says nothing.
func (n *node) isNull() bool { return n == nil || n.kind == yaml.ScalarNode && n.tag == "!!null" }

// isEmpty reports whether n and all that is in it says nothing: for the tools, that is as if it did
// not stand there.
func (n *node) isEmpty() bool {
	if n.kind == yaml.ScalarNode {
		return n.value == "" || n.isNull()
	}
	return !slices.ContainsFunc(n.children, func(child *node) bool { return !child.isEmpty() })
}

// fold gives the keys in n the spelling that they have in the format's Keys, for tools to which
// upper and lower case are the same.
func (n *node) fold() {
	spelling := map[string]string{}
	for _, k := range n.r.format.Keys {
		for _, name := range strings.Split(strings.ReplaceAll(k.Path, "[]", ""), ".") {
			spelling[strings.ToLower(name)] = name
		}
	}
	n.respell(spelling)
}

func (n *node) respell(spelling map[string]string) {
	if name, ok := spelling[strings.ToLower(n.name)]; ok {
		n.name = name
	}
	for _, child := range n.children {
		child.respell(spelling)
	}
}

func take(nodes []*node) []*node {
	for _, n := range nodes {
		n.taken = true
	}
	return nodes
}

// takeAll takes n and all that is in it.
func (n *node) takeAll() {
	if n == nil {
		return
	}
	n.taken = true
	for _, child := range n.children {
		child.takeAll()
	}
}

// at is the line of n, 0 for nil.
func (n *node) at() int {
	if n == nil {
		return 0
	}
	return n.line
}

// names are the keys and positions that lead to n.
func (n *node) names() []string {
	if n == nil || n.parent == nil {
		return nil
	}
	return append(n.parent.names(), n.name)
}

// path is the names as a text: "sync[2].tags".
func (n *node) path() string { return joinPath(n.names()) }
