package foreign

import (
	"bytes"
	"fmt"
	"maps"
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

// keyTable and exportTable are the tables of the page.
var (
	keyTable    = regexp.MustCompile(`(?m)^\| format \| key \|.*\n\|[-|]+\|\n(?:\|.*\n)*`)
	exportTable = regexp.MustCompile(`(?m)^\| format \| our key \|.*\n\|[-|]+\|\n(?:\|.*\n)*`)
)

// TestPageHasTheTables holds the tables of the page against Format.Keys and Export.Keys. -update
// writes them anew.
func TestPageHasTheTables(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	imports := "| format | key | ours | why not, or what differs |\n|---|---|---|---|\n"
	for _, format := range Formats() {
		imports += rows(format.Name, format.Keys)
	}
	exports := "| format | our key | theirs | why not, or what differs |\n|---|---|---|---|\n"
	for _, export := range Exports() {
		exports += rows(export.Name, export.Keys)
	}
	for _, table := range []struct {
		form *regexp.Regexp
		want string
	}{{keyTable, imports}, {exportTable, exports}} {
		found := table.form.FindIndex(text)
		require.NotNil(t, found, "%s has no table of the form %s", page, table.form)
		if *update {
			text = slices.Concat(text[:found[0]], []byte(table.want), text[found[1]:])
			continue
		}
		assert.Equal(t, table.want, string(text[found[0]:found[1]]), "go test ./internal/foreign -update writes the table anew")
	}
	if *update {
		require.NoError(t, os.WriteFile(page, text, 0o644))
	}
}

// rows are those of the keys of a format.
func rows(format string, keys []Key) string {
	var b strings.Builder
	for _, key := range keys {
		ours, why := shown(key)
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", format, key.Path, ours, strings.ReplaceAll(why, "|", `\|`))
	}
	return b.String()
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
		eachKey(t, "testdata/keys", format.Name, format.Keys, func(t *testing.T, key Key, flags string, content []byte) {
			result, err := format.Convert("f", content, flagsOf(t, flags))
			require.NoError(t, err)
			accepted(t, result.Sync)
			checkKey(t, key, content, result.Sync, result.Lost, result.Notes)
		})
	}
}

// TestExportedKeys does the same with what is in testdata/export.
func TestExportedKeys(t *testing.T) {
	for _, export := range Exports() {
		eachKey(t, "testdata/export", export.Name, export.Keys, func(t *testing.T, key Key, _ string, content []byte) {
			exported, err := export.Export("f", content, nil)
			require.NoError(t, err)
			checkKey(t, key, content, exported.Text, exported.Lost, exported.Notes)
		})
	}
}

// eachKey calls check with each key of a format, and its file in the archive of that format, whose
// comment has flags.
func eachKey(t *testing.T, dir, format string, keys []Key, check func(t *testing.T, key Key, flags string, content []byte)) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join(dir, format+".txtar"))
	require.NoError(t, err)
	files := map[string][]byte{}
	for _, f := range archive.Files {
		files[f.Name] = f.Data
	}
	for _, key := range keys {
		t.Run(format+"/"+strings.ReplaceAll(key.Path, "/", "∕"), func(t *testing.T) {
			content, ok := files[key.Path]
			require.True(t, ok, "%s/%s.txtar has no file %q", dir, format, key.Path)
			check(t, key, string(archive.Comment), content)
		})
		delete(files, key.Path)
	}
	assert.Empty(t, slices.Sorted(maps.Keys(files)), "keys that the format %s does not have", format)
}

// checkKey looks for what a key is said to become in the text of the other form, and in what is
// said of it.
func checkKey(t *testing.T, key Key, content, text []byte, allLost, notes []Note) {
	t.Helper()
	pattern := splitPath(key.Path)
	if key.Ours == nothing {
		assert.Empty(t, allLost)
		return
	}
	at := slices.IndexFunc(allLost, func(n Note) bool { return matches(pattern, splitPath(n.Key)) })
	if key.Ours == "" {
		require.GreaterOrEqual(t, at, 0, "it is not lost: %v", allLost)
		lost := allLost[at]
		assert.Equal(t, key.Why, lost.Text)
		if name := pattern[len(pattern)-1]; name != "*" && name != "[]" {
			assert.Contains(t, string(bytes.Split(content, []byte("\n"))[lost.Line-1]), name, "line %d", lost.Line)
		}
		return
	}
	assert.Equal(t, -1, at, "it is lost: %v", allLost)
	for ours := range strings.SplitSeq(key.Ours, ", ") {
		if strings.HasPrefix(ours, "mirror ") || strings.HasPrefix(ours, "--") || ours == "credHelpers" {
			assert.Contains(t, string(lines(notes)), ours)
			continue
		}
		names := slices.DeleteFunc(splitPath(ours), func(name string) bool { return name == "*" || name == "[]" })
		assert.Regexp(t, `(?m)^[- ]*\{?(?:.*[{,] )?`+regexp.QuoteMeta(names[len(names)-1])+`:`, string(text))
	}
}
