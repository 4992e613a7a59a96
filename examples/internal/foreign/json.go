package foreign

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// asYAML makes YAML of one or more documents of JSON, with the same lines: YAML marks where
// documents begin, and knows two escapes of JSON not. What is no JSON is returned as it is.
func asYAML(content []byte) []byte {
	var text bytes.Buffer
	decoder := json.NewDecoder(bytes.NewReader(content))
	for end := 0; ; end = int(decoder.InputOffset()) {
		var document json.RawMessage
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return text.Bytes()
		case err != nil:
			return content
		}
		between := content[end : int(decoder.InputOffset())-len(document)]
		text.Write(between)
		if end > 0 && !bytes.ContainsRune(between, '\n') {
			text.WriteByte('\n')
		}
		if end > 0 {
			text.WriteString("--- ")
		}
		text.Write(jsonEscape().ReplaceAllFunc(document, unescaped))
	}
}

// jsonEscape is an escape in a text of JSON, or two of them that are one letter.
var jsonEscape = late.Regexp(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)

// unescaped is the letter for which YAML has no such escape, or else the escape.
func unescaped(escape []byte) []byte {
	if len(escape) == len(`\/`) && escape[1] != '/' {
		return escape
	}
	var letter string
	if err := json.Unmarshal([]byte(`"`+string(escape)+`"`), &letter); err != nil {
		return escape
	}
	return []byte(letter)
}
