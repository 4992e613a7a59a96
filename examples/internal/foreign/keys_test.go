package foreign

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// page is where people read what becomes of which key.
var page = filepath.Join("..", "..", "..", "docs", "import.md")

// keyTable is the table of the page.
var keyTable = regexp.MustCompile(`(?m)^\| format \| key \|.*\n\|[-|]+\|\n(?:\|.*\n)*`)

// TestPageHasTheTable holds the table of the page against Format.Keys. -update writes it anew.
func TestPageHasTheTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| format | key | ours | why not, or what differs |\n|---|---|---|---|\n")
	for _, format := range Formats() {
		for _, key := range format.Keys {
			ours, why := shown(key)
			fmt.Fprintf(&table, "| %s | `%s` | %s | %s |\n", format.Name, key.Path, ours, strings.ReplaceAll(why, "|", `\|`))
		}
	}
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	found := keyTable.FindIndex(text)
	require.NotNil(t, found, "%s has no table of keys", page)
	if *update {
		text = slices.Concat(text[:found[0]], []byte(table.String()), text[found[1]:])
		require.NoError(t, os.WriteFile(page, text, 0o644))
		return
	}
	assert.Equal(t, table.String(), string(text[found[0]:found[1]]), "go test ./internal/foreign -update writes the table anew")
}

// shown are the last two cells of the row of a key.
func shown(key Key) (ours, why string) {
	switch key.Ours {
	case nothing:
		return "–", key.Why
	case "":
		return "lost", key.Why
	}
	return "`" + strings.ReplaceAll(key.Ours, ", ", "`, `") + "`", key.Why
}

// TestKeysBecomeWhatTheTableSays converts a file with each key of each format, which is in
// testdata/keys, and looks for what the row of the key says.
func TestKeysBecomeWhatTheTableSays(t *testing.T) {
	for _, format := range Formats() {
		archive, err := txtar.ParseFile(filepath.Join("testdata", "keys", format.Name+".txtar"))
		require.NoError(t, err)
		files := map[string][]byte{}
		for _, f := range archive.Files {
			files[f.Name] = f.Data
		}
		for _, key := range format.Keys {
			t.Run(format.Name+"/"+strings.ReplaceAll(key.Path, "/", "∕"), func(t *testing.T) {
				content, ok := files[key.Path]
				require.True(t, ok, "testdata/keys/%s.txtar has no file %q", format.Name, key.Path)
				result, err := format.Convert("f", content, flagsOf(t, string(archive.Comment)))
				require.NoError(t, err)
				accepted(t, result.Sync)
				checkKey(t, key, content, result)
			})
			delete(files, key.Path)
		}
		assert.Empty(t, files, "keys that the format %s does not have", format.Name)
	}
}

// checkKey looks for what a key is said to become.
func checkKey(t *testing.T, key Key, content []byte, result *Result) {
	t.Helper()
	pattern := splitPath(key.Path)
	if key.Ours == nothing {
		assert.Empty(t, result.Lost)
		return
	}
	at := slices.IndexFunc(result.Lost, func(n Note) bool { return matches(pattern, splitPath(n.Key)) })
	if key.Ours == "" {
		require.GreaterOrEqual(t, at, 0, "it is not lost: %v", result.Lost)
		lost := result.Lost[at]
		assert.Equal(t, key.Why, lost.Text)
		if name := pattern[len(pattern)-1]; name != "*" && name != "[]" {
			assert.Contains(t, string(bytes.Split(content, []byte("\n"))[lost.Line-1]), name, "line %d", lost.Line)
		}
		return
	}
	assert.Equal(t, -1, at, "it is lost: %v", result.Lost)
	for ours := range strings.SplitSeq(key.Ours, ", ") {
		if strings.HasPrefix(ours, "mirror ") || strings.HasPrefix(ours, "--") || ours == "credHelpers" {
			assert.Contains(t, string(lines(result.Notes)), ours)
			continue
		}
		assert.Regexp(t, `(?m)^[- ]*\{?(?:.*[{,] )?`+regexp.QuoteMeta(ours)+`:`, string(result.Sync))
	}
}
