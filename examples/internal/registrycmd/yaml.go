package registrycmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sparsecopy/sparsecopy/examples/internal/spelling"
)

// A fileValue is a value as text, and where it is.
type fileValue struct {
	value string
	line  int
}

// loadFile reads the YAML file, if one is named. path is "" if none is.
func (o *options) loadFile(cmd *cobra.Command, env environment) (values map[string]fileValue, path string, err error) {
	path = cmd.Flags().Lookup(configFlag).Value.String()
	if path == "" {
		path = env.lookup(configEnv)
	}
	if path == "" {
		return nil, "", nil
	}
	values, err = o.readFile(path)
	return values, path, err
}

// readFile reads a YAML file with settings.
func (o *options) readFile(path string) (map[string]fileValue, error) {
	content, err := o.readWhole(path)
	if err != nil {
		return nil, fmt.Errorf("file of settings: %w", err)
	}
	values, err := parseFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return values, nil
}

// readWhole reads a file, and notes whether it ends with the end of a line.
func (o *options) readWhole(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if o.whole == nil {
		o.whole = map[string]bool{}
	}
	o.whole[path] = bytes.HasSuffix(content, []byte("\n"))
	return content, err
}

// parseFile reads a mapping whose values are scalars or, for some settings, sequences of scalars,
// which become text with commas. It refuses keys that are no settings, since a policy that was
// mistyped would not be in force. The YAML library's own refusal (Decoder.KnownFields) is for
// structs; here the table of settings says what there is.
func parseFile(content []byte) (map[string]fileValue, error) {
	root, err := parseDocument(content)
	if root == nil {
		return nil, err
	}
	var known []string
	several := map[string]bool{}
	for _, s := range settings {
		known = append(known, s.key)
		several[s.key] = s.several
	}
	fields, err := fieldsOf(root, known)
	if err != nil {
		return nil, err
	}
	values := map[string]fileValue{}
	for _, f := range fields {
		value, err := scalars(f.value)
		if err == nil && f.value.Kind == yaml.SequenceNode && !several[f.key] {
			err = errors.New("is a sequence, and takes one value")
		}
		if err != nil {
			return nil, fmt.Errorf("%d: %s: %w", f.value.Line, f.key, err)
		}
		values[f.key] = fileValue{value: strings.Join(value, ","), line: f.line}
	}
	return values, nil
}

// parseDocument reads one YAML document; nil stands for an empty one. An error begins with the line
// or a space.
func parseDocument(content []byte) (*yaml.Node, error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New(" more than one document")
	}
	return document.Content[0], nil
}

// A field is a key of a mapping and its value.
type field struct {
	key   string
	line  int // of the key
	value *yaml.Node
}

// fieldsOf reads a mapping. It refuses keys that are not known, or repeated.
func fieldsOf(node *yaml.Node, known []string) ([]field, error) {
	if node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: not a mapping of settings", node.Line)
	}
	var fields []field
	for i := 0; i < len(node.Content); i += 2 {
		f := field{node.Content[i].Value, node.Content[i].Line, node.Content[i+1]}
		switch {
		case !slices.Contains(known, f.key):
			return nil, fmt.Errorf("%d: unknown setting %q%s", f.line, f.key, meant(f.key, known))
		case slices.ContainsFunc(fields, func(other field) bool { return other.key == f.key }):
			return nil, fmt.Errorf("%d: %s is set twice", f.line, f.key)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// meant says how to write a name that is not known: as the one that is it but for its spelling,
// such as the name of a flag or of a variable, or as one of those that there are.
func meant(name string, known []string) string {
	plain := make([]string, len(known))
	for i, k := range known {
		plain[i] = plainly(k)
	}
	switch at := slices.Index(plain, plainly(name)); {
	case name == "version":
		return ": it is of plain distribution's configuration, which --distribution-config names"
	case at >= 0:
		return fmt.Sprintf(": write it as %s", known[at])
	}
	if near := spelling.Nearest(plainly(name), plain); near != "" {
		return fmt.Sprintf(": did you mean %s?", known[slices.Index(plain, near)])
	}
	return fmt.Sprintf(" (known: %s)", strings.Join(known, ", "))
}

// plainly spells the names of a setting alike: those of its flag, its variable and its key.
func plainly(name string) string {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return strings.TrimPrefix(strings.TrimPrefix(name, "--"), "sparse-registry-")
}

// scalars reads a scalar, or a sequence of them.
func scalars(node *yaml.Node) ([]string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil, errors.New("has no value")
	case node.Kind == yaml.ScalarNode:
		return []string{node.Value}, nil
	case node.Kind != yaml.SequenceNode:
		return nil, errors.New("must be a value or a sequence of values")
	}
	values := make([]string, len(node.Content))
	for i, element := range node.Content {
		if element.Kind != yaml.ScalarNode {
			return nil, errors.New("must be a sequence of plain values")
		}
		values[i] = element.Value
	}
	return values, nil
}
