package foreign

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// examples are the files of testdata/keys, by format.
func examples(t *testing.T) map[*Format][]string {
	t.Helper()
	all := map[*Format][]string{}
	for _, format := range Formats() {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "keys", format.Name+".txtar"))
		require.NoError(t, err)
		for _, f := range archive.Files {
			all[format] = append(all[format], string(f.Data))
		}
	}
	return all
}

// TestStrangeValues converts the examples with each of their values replaced by what nobody means.
func TestStrangeValues(t *testing.T) {
	for format, files := range examples(t) {
		seen := map[string]bool{}
		for _, text := range files {
			for _, strange := range withStrangeValues(strings.Split(text, "\n")) {
				if !seen[strange] {
					seen[strange] = true
					checkConversion(t, format, strange)
				}
			}
		}
	}
}

// withStrangeValues are a file with each of its values replaced by others. What stands below a key,
// or in a list of the key's indentation, is its value, too.
func withStrangeValues(lines []string) (all []string) {
	indentation := func(line string) int { return len(line) - len(strings.TrimLeft(line, " -")) }
	for i, line := range lines {
		key, _, isKey := strings.Cut(line, ":")
		if !isKey {
			continue
		}
		end := i + 1
		for end < len(lines) && indentation(lines[end]) > indentation(line) {
			end++
		}
		for _, value := range []string{"", " {}", " [~]", " a b"} {
			all = append(all, strings.Join(slices.Concat(lines[:i], []string{key + ":" + value}, lines[end:]), "\n"))
		}
	}
	return all
}

// checkConversion converts a text. Nothing panics, and a sync file that comes of it is accepted,
// and exported without a panic.
func checkConversion(t *testing.T, format *Format, text string) {
	t.Helper()
	o := Options{Dir: "/srv", Environment: AnyEnvironment}
	if format.NeedsTo {
		o.To = "docker://mirror.example/{registry}/{repository}"
	}
	result, err := format.Convert("f", []byte(text), o)
	if err != nil {
		assert.IsType(t, syncfile.Problems{}, err, "%s: %s", format.Name, text)
		return
	}
	accepted(t, result.Sync)
	for _, export := range Exports() {
		if _, err := export.Export("f", result.Sync, nil); err != nil {
			assert.IsType(t, syncfile.Problems{}, err, export.Name)
		}
	}
}
