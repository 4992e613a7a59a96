package foreign

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestJSON reads texts with all escapes of JSON as a parser of JSON does.
func TestJSON(t *testing.T) {
	for _, text := range []string{
		`"a\/b"`, `"\\/"`, `"\\\/"`, `"\ud83d\ude00"`, `"\\ud83d"`, `"\u003c\u00e9"`, `"\"\b\f\n\r\t\u0000"`, `"\ud83d\uDE00\/"`,
	} {
		var want, got string
		require.NoError(t, json.Unmarshal([]byte(text), &want), text)
		require.NoError(t, yaml.Unmarshal(asYAML([]byte(text)), &got), text)
		assert.Equal(t, want, got, text)
	}
}

// TestJSONDocuments has several documents, in one line and in many.
func TestJSONDocuments(t *testing.T) {
	r := &reader{format: &kubernetes, content: []byte("{\n\t\"a\": 1}\n\n{\"a\": 2} {\"a\":\n3}\n")}
	var got []string
	var lines []int
	for _, d := range r.documents() {
		got, lines = append(got, d.key("a").text()), append(lines, d.line)
	}
	assert.Empty(t, r.problems)
	assert.Equal(t, []string{"1", "2", "3"}, got)
	assert.Equal(t, []int{1, 4, 5}, lines)

	for _, text := range []string{"a: 1\n", "- a\n", `{"a": 1,}`, `{a: 1}`, "{\"a\": 1}\nb: 1\n"} {
		assert.Equal(t, text, string(asYAML([]byte(text))), "no JSON")
	}
}
