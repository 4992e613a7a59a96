package syncfile

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// An Environment returns the value of a variable, and whether it is set.
type Environment func(name string) (value string, set bool)

var variableName = late.Regexp(`^[A-Za-z_][A-Za-z0-9_]*$`)

// environed returns the text that a key has, with the values of the variables that it names as
// ${NAME}. They are put in once, and looked into no further. "$${" is a plain "${", and any other
// "$" is itself.
//
// The names of reserved are left for whoever has a meaning for them in braces.
func (p *parser) environed(n *yaml.Node, key string, reserved []string) (string, bool) {
	rest, ok := p.scalar(n, key)
	var b strings.Builder
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			b.WriteString(before)
			return b.String(), ok
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			b.WriteString(plain + "${")
			rest = after
			continue
		}
		name, after, ended := strings.Cut(after, "}")
		rest = after
		value, problem := p.variable(name, ended, reserved)
		if problem != "" {
			p.problem(n.Line, "%s: %s", key, problem)
			ok = false
		}
		b.WriteString(before + value)
	}
}

// variable returns the value of a variable, or what is wrong with how it is written.
func (p *parser) variable(name string, ended bool, reserved []string) (value, problem string) {
	if ended && slices.Contains(reserved, name) {
		return "${" + name + "}", ""
	}
	if !ended || !variableName().MatchString(name) {
		return "", `what follows "${" is no name of an environment variable with a "}" after it; a plain "${" is written "$${"`
	}
	value, set := p.environment(name)
	if !set {
		return "", "${" + name + `} is not set in the environment; a plain "${" is written "$${"`
	}
	return value, ""
}
