package foreign

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// An opaque is a text that has something in it which only a run knows. It can be written, and
// nothing can be made of it: functions of templates take strings.
type opaque string

// known is a text for templates: a string, if everything of it is known.
func known(text string) any {
	if strings.Contains(text, "${") {
		return opaque(text)
	}
	return text
}

// template works out a template of regsync; data is what it has said of its step before. Variables
// of the environment become those of a sync file. What cannot be said makes all of whole lost.
func (s *regsyncReader) template(whole, n *node, data map[string]string) (text string, ok bool) {
	sync := map[string]any{}
	for field, value := range data {
		sync[field] = known(value)
	}
	return s.templateOf(whole, n, map[string]any{"Sync": sync, "Step": sync})
}

func (s *regsyncReader) templateOf(whole, n *node, data map[string]any) (text string, ok bool) {
	text, err := expandTemplate(n.text(), data)
	if err != nil {
		s.lost(whole, "%s: %v", n.name, err)
		return "", false
	}
	return text, true
}

// templateFunctions are the functions of regsync's templates that need nothing but their arguments,
// and env.
var templateFunctions = template.FuncMap{
	"env": func(name string) (opaque, error) {
		if !variableName().MatchString(name) {
			return "", fmt.Errorf("%q is no name for a variable", name)
		}
		return opaque("${" + name + "}"), nil
	},
	"file": func(string) (string, error) {
		return "", errors.New("no file is read: put what it says into the file itself, or into an environment variable")
	},
	"default": func(byDefault, value string) string {
		if value == "" {
			return byDefault
		}
		return value
	},
	"join": strings.Join, "lower": strings.ToLower, "split": strings.Split, "trimSpace": strings.TrimSpace, "upper": strings.ToUpper,
}

var variableName = late.Regexp(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expandTemplate works out a template of texts, fields and a few functions. All else is refused:
// what templates of Go can do takes any time, and any space.
func expandTemplate(text string, data map[string]any) (string, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(templateFunctions).Parse(text)
	if err != nil {
		return "", fmt.Errorf("it is no template: %s", strings.TrimPrefix(err.Error(), "template: "))
	}
	if t.Tree == nil {
		return "", nil
	}
	if odd := oddNode(t.Root); odd != nil {
		return "", fmt.Errorf("{{%s}} is not worked out; only env, fields and %s are", odd, "index, join, lower, split, trimSpace, upper")
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		_, why, _ := strings.Cut(err.Error(), ">: ")
		return "", fmt.Errorf("this template has something in it that only a run knows, or that is not there: %s", why)
	}
	return b.String(), nil
}

// oddNode returns something of a template that is not worked out, nil if there is nothing.
func oddNode(n parse.Node) parse.Node {
	var inside []parse.Node
	switch n := n.(type) {
	case *parse.TextNode, *parse.FieldNode, *parse.StringNode, *parse.NumberNode:
		return nil
	case *parse.IdentifierNode:
		if templateFunctions[n.Ident] != nil || n.Ident == "index" {
			return nil
		}
		return n
	case *parse.ListNode:
		inside = n.Nodes
	case *parse.ActionNode:
		return oddNode(n.Pipe)
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return n
		}
		for _, command := range n.Cmds {
			inside = append(inside, command)
		}
	case *parse.CommandNode:
		inside = n.Args
	default:
		return n
	}
	for _, i := range inside {
		if odd := oddNode(i); odd != nil {
			return odd
		}
	}
	return nil
}
