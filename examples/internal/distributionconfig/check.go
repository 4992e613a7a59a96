package distributionconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"go.yaml.in/yaml/v3"
)

// checkFile refuses what a file says that is not honoured, is no key of the configuration, or is
// there twice. It leaves to the parser what is wrong with values.
func checkFile(content []byte) error {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return errors.New("is empty")
	} else if err != nil {
		return err
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return errors.New("has more than one document")
	}
	return checkNode(document.Content[0], reflect.TypeFor[configuration.Configuration](), "")
}

// checkNode refuses keys of a mapping that stands for a struct. Of anything else it looks at what
// is within.
func checkNode(node *yaml.Node, t reflect.Type, path string) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	var errs []error
	switch t = pointedTo(t); {
	case node.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		seen := map[string]bool{}
		for i := 0; i < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			if seen[key.Value] {
				errs = append(errs, fmt.Errorf("line %d: %s is there twice", key.Line, join(path, key.Value)))
			}
			seen[key.Value] = true
			if err := checkKey(key, value, t, path); err != nil {
				errs = append(errs, err)
			}
		}
	case node.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for i, element := range node.Content {
			errs = append(errs, checkNode(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i)))
		}
	}
	return errors.Join(errs...)
}

func checkKey(key, value *yaml.Node, t reflect.Type, path string) error {
	if key.Tag == "!!merge" {
		return checkMerged(value, t, path)
	}
	name := join(path, key.Value)
	if instead := decisions[name]; instead != honoured {
		return fmt.Errorf("line %d: %s is not honoured: %s", key.Line, name, instead)
	}
	field, ok := fieldOf(t, func(f reflect.StructField) bool { return keyOf(f) == key.Value })
	if !ok {
		return fmt.Errorf("line %d: %s is no key of distribution's configuration", key.Line, name)
	}
	return checkNode(value, field.Type, name)
}

// checkMerged looks at what stands for keys of the mapping that it is in.
func checkMerged(value *yaml.Node, t reflect.Type, path string) error {
	if value.Kind != yaml.SequenceNode {
		return checkNode(value, t, path)
	}
	var errs []error
	for _, mapping := range value.Content {
		errs = append(errs, checkNode(mapping, t, path))
	}
	return errors.Join(errs...)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// keyOf is the name of a field in a file, "" for one whose fields stand in its place.
func keyOf(f reflect.StructField) string {
	name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	switch {
	case options == "inline":
		return ""
	case name == "":
		return strings.ToLower(f.Name) // as the parser has it
	default:
		return name
	}
}

// fieldOf finds a field of a struct, or of one whose fields stand in its place.
func fieldOf(t reflect.Type, is func(reflect.StructField) bool) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if keyOf(f) == "" {
			if found, ok := fieldOf(f.Type, is); ok {
				return found, true
			}
		} else if is(f) {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func pointedTo(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// environmentPrefix is what the parser's variables begin with.
const environmentPrefix = "REGISTRY_"

// clientsPasswords is where clients have the name of a file with passwords.
const clientsPasswords = "REGISTRY_AUTH_FILE"

// IsVariable reports whether distribution's own parser would take a variable of the environment for
// a part of the configuration. The file with passwords that clients name is none, though it would.
func IsVariable(name string) bool {
	rest, ok := strings.CutPrefix(name, environmentPrefix)
	return ok && name != clientsPasswords && isOfSection(rest)
}

// isOfSection reports whether the first part of a variable's name, which has no prefix any more, is
// a section.
func isOfSection(name string) bool {
	first, _, _ := strings.Cut(name, "_")
	_, ok := fieldOf(reflect.TypeFor[configuration.Configuration](), named(first))
	return ok
}

// checkEnvironment does with variables what checkFile does with a file, with one difference: a name
// whose first part is no section is a warning. Kubernetes makes such variables of a service that is
// called registry (REGISTRY_PORT, REGISTRY_SERVICE_HOST), and nobody can help it. The one that
// Podman and Skopeo have for their passwords is refused by name: the parser takes it for auth.
func checkEnvironment(environment []string) (warnings []string, err error) {
	var errs []error
	for _, variable := range slices.Sorted(slices.Values(environment)) {
		name, _, _ := strings.Cut(variable, "=")
		rest, ok := strings.CutPrefix(name, environmentPrefix)
		if !ok {
			continue
		}
		if !isOfSection(rest) {
			warnings = append(warnings, name+" in the environment is no part of distribution's configuration, and means nothing")
			continue
		}
		if name == clientsPasswords {
			errs = append(errs, fmt.Errorf("environment variable %s is Podman's and Skopeo's, and distribution takes it for its section auth: unset it here", name))
			continue
		}
		if err := checkVariable(strings.Split(rest, "_"), reflect.TypeFor[configuration.Configuration](), ""); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
	}
	return warnings, errors.Join(errs...)
}

// named tells a field by a part of a variable's name: unlike a file, it has the field's own name.
func named(part string) func(reflect.StructField) bool {
	return func(f reflect.StructField) bool { return strings.ToUpper(f.Name) == part }
}

// checkVariable refuses the variable whose name goes on with parts, below path, where a t is.
func checkVariable(parts []string, t reflect.Type, path string) error {
	if instead := decisions[path]; instead != honoured {
		return fmt.Errorf("%s is not honoured: %s", path, instead)
	}
	t = pointedTo(t)
	if len(parts) == 0 {
		if path == "http" {
			return errors.New("names all of http; the only key of it that is honoured is REGISTRY_HTTP_SECRET")
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		field, ok := fieldOf(t, named(parts[0]))
		if !ok {
			return fmt.Errorf("%s is no key of distribution's configuration", join(path, strings.ToLower(parts[0])))
		}
		return checkVariable(parts[1:], field.Type, join(path, keyOf(field)))
	case reflect.Slice:
		if _, err := strconv.Atoi(parts[0]); err != nil {
			return fmt.Errorf("%s is a sequence: %q is no place in it", path, parts[0])
		}
		return checkVariable(parts[1:], t.Elem(), path+"["+parts[0]+"]")
	default:
		return nil // a map of parameters is looked at when it has been parsed
	}
}

// checkStorage refuses what is no part of the storage's section.
func checkStorage(storage configuration.Storage) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(storage)) {
		keys, part := storageParts[name]
		if part {
			errs = append(errs, checkKeys(storage[name], keys, "storage."+name))
		} else if instead := refusedDrivers[name]; instead != "" {
			errs = append(errs, fmt.Errorf("storage.%s is not honoured: %s", name, instead))
		}
	}
	for name, keys := range maintenanceParts {
		value, there := storage["maintenance"][name]
		parameters, ok := section(value)
		if there && !ok {
			errs = append(errs, fmt.Errorf("storage.maintenance.%s: is no section", name))
		}
		errs = append(errs, checkKeys(parameters, keys, "storage.maintenance."+name))
	}
	return errors.Join(errs...)
}

// checkAuth refuses what is no way to ask for credentials.
func checkAuth(auth configuration.Auth) error {
	if len(auth) > 1 { // which variables can do
		return fmt.Errorf("auth: has more than one type: %s", strings.Join(slices.Sorted(maps.Keys(auth)), ", "))
	}
	for name, parameters := range auth {
		keys, ok := authTypes[name]
		if !ok {
			return fmt.Errorf("auth.%s is not honoured: use token, htpasswd or none", name)
		}
		return checkKeys(parameters, keys, "auth."+name)
	}
	return nil
}

func checkKeys(parameters map[string]any, known []string, path string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("%s.%s is no key of distribution's configuration", path, name))
		}
	}
	return errors.Join(errs...)
}

// section is what a value that is a mapping has. The parser makes either type of it, depending on
// where it comes from.
func section(value any) (map[string]any, bool) {
	switch v := value.(type) {
	case map[string]any:
		return v, true
	case map[any]any:
		parameters := make(map[string]any, len(v))
		for key, value := range v {
			parameters[fmt.Sprint(key)] = value
		}
		return parameters, true
	default:
		return nil, false
	}
}
