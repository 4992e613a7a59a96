package imagetest

import (
	"bytes"
	"encoding/json"
)

// An object is a JSON object whose members keep their order.
type object []member

type member struct {
	key   string
	value any
}

func (o *object) add(key string, value any) { *o = append(*o, member{key, value}) }

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			buf.WriteByte(',')
		}
		buf.Write(encode(m.key))
		buf.WriteByte(':')
		buf.Write(encode(m.value))
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

// encode returns v as compact JSON, with <, > and & as they are.
func encode(v any) []byte {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		fail("not JSON: %v", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// indented returns a document in the given style; compact if indent is "".
func indented(v any, indent string) []byte {
	compact := encode(v)
	if indent == "" {
		return compact
	}
	var buf bytes.Buffer
	if err := json.Indent(&buf, compact, "", indent); err != nil {
		fail("not JSON: %v", err)
	}
	return buf.Bytes()
}
