package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An object is a JSON object cut into pieces, so that members can be changed and removed while
// everything else keeps its bytes.
type object struct {
	members     []rawMember
	open, close string // white space after the opening and before the closing brace
}

// A rawMember is a member of an object; its bytes are gap, name, colon and value.
type rawMember struct {
	key   string // what name means
	gap   string // comma and white space before it; not used for the first member
	name  string // the key as written
	colon string // the colon and the white space around it
	value string
}

// splitObject cuts an object that has been scanned before, and that has a member.
func splitObject(raw string) object {
	members, end := splitMembers(raw)
	return object{members: members, open: members[0].gap, close: raw[end : len(raw)-1]}
}

// splitMembers returns the members of an object that has been scanned before, and where the last
// one ends.
func splitMembers(raw string) (members []rawMember, end int) {
	s := &scanner{src: raw}
	done := 1
	err := s.object(nil, func(key string) error {
		m := rawMember{
			key:   key,
			gap:   raw[done:s.keyStart],
			name:  raw[s.keyStart:s.keyEnd],
			colon: raw[s.keyEnd:s.pos],
		}
		start := s.pos
		err := s.any()
		m.value = raw[start:s.pos]
		members = append(members, m)
		done = s.pos
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("manifest: object that was accepted before: %v", err))
	}
	return members, done
}

// set gives a member a new value. A key that is not there becomes the first member.
func (o *object) set(key string, value any) {
	text := o.style().value(value)
	i := slices.IndexFunc(o.members, func(m rawMember) bool { return m.key == key })
	if i >= 0 {
		o.members[i].value = text
		return
	}
	st := o.style()
	o.members = slices.Insert(o.members, 0, rawMember{key: key, name: jsonString(key), colon: st.colon, value: text})
	o.members[1].gap = st.gap
}

// annotate sets annotations, as the last ones. The object of all is the last member if there is
// none.
func (o *object) annotate(annotations []field) {
	st := o.style()
	i := slices.IndexFunc(o.members, func(m rawMember) bool { return m.key == "annotations" })
	switch {
	case i < 0:
		o.setLast(field{"annotations", annotations})
	case isEmptyValue(o.members[i].value):
		o.members[i].value = st.nested().object(annotations)
	default:
		has := splitObject(o.members[i].value)
		for _, a := range annotations {
			has.setLast(a)
		}
		o.members[i].value = has.text()
	}
}

// setLast makes a member with the given value the last one, in the place of what has its key.
func (o *object) setLast(f field) {
	st := o.style()
	o.remove(f.key)
	o.members = append(o.members, rawMember{key: f.key, gap: st.gap, name: jsonString(f.key), colon: st.colon, value: st.nested().value(f.value)})
}

// remove removes the member with the given key, if there is one. It must not be the only one.
func (o *object) remove(key string) {
	o.members = slices.DeleteFunc(o.members, func(m rawMember) bool { return m.key == key })
}

// text puts the pieces together again.
func (o *object) text() string {
	var b strings.Builder
	b.WriteString("{" + o.open)
	for i, m := range o.members {
		if i > 0 {
			b.WriteString(m.gap)
		}
		b.WriteString(m.name + m.colon + m.value)
	}
	b.WriteString(o.close + "}")
	return b.String()
}

// A style says how to lay out an object or an array.
type style struct {
	open  string // white space after the opening bracket
	gap   string // comma and white space between members
	close string // white space before the closing bracket
	colon string // colon and white space between key and value
}

// style is how the object is laid out, as its first two members show.
func (o *object) style() style {
	st := style{open: o.open, gap: "," + o.open, close: o.close, colon: o.members[0].colon}
	if len(o.members) > 1 {
		st.gap = o.members[1].gap
	}
	return st
}

// nested is the style for values inside an object of style st. What is spread over lines is
// indented by one more unit.
func (st style) nested() style {
	if !strings.Contains(st.close, "\n") {
		return st
	}
	unit, ok := strings.CutPrefix(st.open, st.close)
	if !ok {
		return st
	}
	return style{open: st.open + unit, gap: st.gap + unit, close: st.open, colon: st.colon}
}

// A field is a member of an object to be written. The value is a string, an int64, a []string or a
// []field.
type field struct {
	key   string
	value any
}

// object writes an object.
func (st style) object(fields []field) string {
	members := make([]string, len(fields))
	for i, f := range fields {
		members[i] = jsonString(f.key) + st.colon + st.nested().value(f.value)
	}
	return "{" + st.enclosed(members) + "}"
}

// value writes a value; objects and arrays are laid out in style st.
func (st style) value(v any) string {
	switch v := v.(type) {
	case string:
		return jsonString(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case []string:
		elements := make([]string, len(v))
		for i, text := range v {
			elements[i] = jsonString(text)
		}
		return "[" + st.enclosed(elements) + "]"
	case []field:
		return st.object(v)
	}
	panic(fmt.Sprintf("manifest: cannot write a %T", v))
}

func (st style) enclosed(items []string) string {
	return st.open + strings.Join(items, st.gap) + st.close
}

// jsonString writes a string with no more escapes than necessary.
func jsonString(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(fmt.Sprintf("manifest: cannot write %q: %v", s, err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// A layout says how to add entries to a list.
type layout struct {
	open, close string // white space inside the brackets of manifests
	gap         string // comma and white space before an entry
	entry       style
}

// layoutOf returns how the entries of a list are laid out. The last entry is the model; in an empty
// list, the document is.
func layoutOf(c *core) layout {
	n := len(c.entries)
	if n == 0 {
		document := splitObject(strings.TrimSpace(c.doc))
		list := document.style().nested()
		return layout{open: list.open, close: list.close, gap: list.gap, entry: list.nested()}
	}
	last := c.entries[n-1]
	model := splitObject(last.raw)
	lay := layout{open: c.open, close: c.close, gap: "," + c.open, entry: model.style()}
	switch {
	case strings.Contains(last.gap, ","): // it is, or was, not the first
		lay.gap = last.gap
	case !strings.Contains(lay.open+lay.entry.gap, "\n"):
		// All is on one line: entries are separated as members are.
		lay.gap = lay.entry.gap
	}
	return lay
}
