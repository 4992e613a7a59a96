// Package schematest holds pages about JSON documents against the types that are marshalled.
package schematest

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Check holds a page against types. For each it has a section, "## " and the name, with a table
// that has one row for each member in JSON, in the order of the fields, and no others:
//
//	| `name` | type | meaning |
//
// The type is string, number or boolean, the name of another section, or "array of " and one of
// these; more than one thing is "array of strings" and so on. It ends with ", always" if and only
// if the member is there whatever its value. Every other section of the page that has such a table
// is an error: nothing holds it. Types of elsewhere are on other pages, under their own names.
func Check(t testing.TB, page string, types map[string]any, elsewhere ...any) {
	t.Helper()
	content, err := os.ReadFile(page)
	require.NoError(t, err)
	names := map[reflect.Type]string{}
	for name, v := range types {
		names[reflect.TypeOf(v)] = name
	}
	for _, v := range elsewhere {
		names[reflect.TypeOf(v)] = reflect.TypeOf(v).Name()
	}
	documented := map[string][]string{}
	for _, section := range strings.Split(string(content), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		if rows := rowsOf(body); len(rows) > 0 {
			documented[title] = rows
		}
	}
	for name, v := range types {
		assert.Equal(t, membersOf(t, reflect.TypeOf(v), names), documented[name], "section %s of %s", name, page)
		delete(documented, name)
	}
	assert.Empty(t, documented, "sections of %s about no type that is known here", page)
}

// rowsOf returns the first two columns of the rows of a section.
func rowsOf(section string) []string {
	var rows []string
	for line := range strings.Lines(section) {
		columns := strings.SplitN(line, "|", 4)
		if len(columns) == 4 && strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Trim(strings.TrimSpace(columns[1]), "`")+": "+strings.TrimSpace(columns[2]))
		}
	}
	return rows
}

// membersOf returns the members of a struct in JSON with their types, in the form of rowsOf. Those
// of structs that are embedded are its own.
func membersOf(t testing.TB, s reflect.Type, names map[reflect.Type]string) []string {
	t.Helper()
	var members []string
	for i := range s.NumField() {
		field := s.Field(i)
		if embedded := field.Type; field.Anonymous && field.Tag.Get("json") == "" {
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			members = append(members, membersOf(t, embedded, names)...)
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		text, err := typeOf(field.Type, names)
		require.NoError(t, err, "%s.%s", s, field.Name)
		if options != "omitempty" && options != "omitzero" {
			text += ", always"
		}
		members = append(members, name+": "+text)
	}
	return members
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

func typeOf(of reflect.Type, names map[reflect.Type]string) (string, error) {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if name, ok := names[of]; ok {
		return name, nil
	}
	if of.Implements(textMarshaler) { // times and actions
		return "string", nil
	}
	if of.Implements(jsonMarshaler) {
		return "", fmt.Errorf("nobody knows what %s is in JSON", of)
	}
	switch of.Kind() {
	case reflect.String:
		return "string", nil
	case reflect.Bool:
		return "boolean", nil
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64:
		return "number", nil
	case reflect.Slice:
		element, err := typeOf(of.Elem(), names)
		if _, named := names[of.Elem()]; !named {
			element += "s"
		}
		return "array of " + element, err
	case reflect.Map:
		element, err := typeOf(of.Elem(), names)
		return "object of " + element + "s", err
	}
	return "", fmt.Errorf("the page has no section for %s", of)
}
