package foreign

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// An element is a mapping of a sync file that is being put together.
type element struct {
	r      *reader
	from   *node // what says so in the other tool's file, nil for its options
	values map[string]any
}

func newElement(r *reader, from *node) *element {
	return &element{r: r, from: from, values: map[string]any{}}
}

// set sets a key to a text, a boolean, a number, or a list or mapping of these. A text means what
// it says, whatever YAML would make of it. A key that has another value already is a problem.
func (e *element) set(key string, value any) {
	if old, ok := e.values[key]; ok && fmt.Sprint(old) != fmt.Sprint(value) {
		e.r.problem(e.from, "%s would be both %v and %v", key, old, value)
	}
	e.values[key] = value
}

// first are keys that come before the others, which are sorted.
var first = []string{"registry", "source", "tags", "exclude-tags", "destination"}

// keys are those of the element in the order in which they are written.
func (e *element) keys() []string {
	sorted := slices.Sorted(maps.Keys(e.values))
	rank := func(key string) int {
		if i := slices.Index(first, key); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}

// tree is the element as YAML. All of its lines are that of what it comes from.
func (e *element) tree() *yaml.Node {
	tree := mapping()
	for _, key := range e.keys() {
		var value yaml.Node
		if err := value.Encode(e.values[key]); err != nil {
			e.r.problem(e.from, "%s: %v", key, err)
			continue
		}
		flow(&value)
		add(tree, key, &value)
	}
	comesFrom(tree, e.from.at())
	return tree
}

// maxFlow is how many letters a list may have that stands in one line.
const maxFlow = 72

// flow puts into one line what is short, and what is in lists.
func flow(value *yaml.Node) {
	length := 0
	for _, c := range value.Content {
		length += len(c.Value) + len(", ")
		if c.Kind == yaml.MappingNode {
			c.Style = yaml.FlowStyle
			length += maxFlow
		}
	}
	if value.Kind == yaml.SequenceNode && length <= maxFlow {
		value.Style = yaml.FlowStyle
	}
}

// comesFrom sets the line of all that is in a tree.
func comesFrom(tree *yaml.Node, line int) {
	tree.Line = line
	for _, c := range tree.Content {
		comesFrom(c, line)
	}
}

// sync is the sync file as YAML.
func (r *reader) sync() *yaml.Node {
	top := mapping()
	add(top, "version", &yaml.Node{Kind: yaml.ScalarNode, Value: "1"})
	if len(r.registries) > 0 {
		add(top, "registries", sequence(r.registries))
	}
	if r.defaults != nil {
		add(top, "defaults", r.defaults.tree())
	}
	add(top, "images", sequence(r.images))
	top.HeadComment = fmt.Sprintf("# Made by mirror import of %q, %s.", r.name, r.format.Title)
	return top
}

// sequence is a list of elements, each under a comment that says which line it comes from.
func sequence(elements []*element) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range elements {
		tree := e.tree()
		tree.HeadComment = fmt.Sprintf("# line %d", e.from.at())
		list.Content = append(list.Content, tree)
	}
	return list
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func add(to *yaml.Node, key string, value *yaml.Node) {
	to.Content = append(to.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

func encode(tree *yaml.Node) ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	if err := encoder.Encode(tree); err != nil {
		return nil, err
	}
	return b.Bytes(), encoder.Close()
}
