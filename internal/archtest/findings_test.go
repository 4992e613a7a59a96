package archtest

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// findingsShared is what the findings share, and findingsPage has a row for each of them.
const (
	findingsShared = "lib.sh"
	findingsPage   = "README.md"
)

// findingFields are what the head of a finding says, in this order.
var findingFields = []string{"What", "Packages", "Expected", "Seen", "Run"}

var (
	findingRow = regexp.MustCompile(`(?m)^\| \[([a-z0-9-]+)\]\(([a-z0-9-]+\.sh)\) \|.*\| ([^|]*) \| (\d{4}-\d{2}-\d{2}) \|$`)
	version    = regexp.MustCompile(`\bv\d+\.\d+\.\d+[-.+a-z0-9]*\b`)
	runDate    = regexp.MustCompile(`(?m)^# Run: +(\d{4}-\d{2}-\d{2})$`)
)

// TestFindingsAreComplete holds the scripts in findings against their form and their page.
func TestFindingsAreComplete(t *testing.T) {
	assertNone(t, incompleteFindings(t, os.DirFS(root+"/findings")))
}

// incompleteFindings returns what is wrong with the findings in tree: a head without a field, a
// version that the head does not name, our own product, a script that cannot be run, and rows of
// the page that say something else.
func incompleteFindings(t *testing.T, tree fs.FS) []string {
	t.Helper()
	page, err := fs.ReadFile(tree, findingsPage)
	require.NoError(t, err)
	rows := make(map[string][]string)
	for _, row := range findingRow.FindAllStringSubmatch(string(page), -1) {
		if row[2] != row[1]+".sh" {
			row[2] = row[1] + ".sh, linked as " + row[2]
		}
		rows[row[2]] = row
	}
	scripts, err := fs.Glob(tree, "*.sh")
	require.NoError(t, err)
	var complaints []string
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	for _, script := range scripts {
		if script == findingsShared {
			continue
		}
		info, err := fs.Stat(tree, script)
		require.NoError(t, err)
		if info.Mode()&0o111 == 0 {
			complain("%s is not executable", script)
		}
		text, err := fs.ReadFile(tree, script)
		require.NoError(t, err)
		head, body, _ := strings.Cut(string(text), "\n\n")
		rest := head
		for _, field := range findingFields {
			_, after, there := strings.Cut(rest, "\n# "+field+":")
			if !there {
				complain("%s: the head has no %s, or not at its place", script, field)
				continue
			}
			rest = after
		}
		_, packages, _ := strings.Cut(head, "\n# Packages:")
		packages, _, _ = strings.Cut(packages, "\n# Expected:")
		named := versions(packages)
		for _, used := range versions(body) {
			if !slices.Contains(named, used) {
				complain("%s: the head does not name %s", script, used)
			}
		}
		if strings.Contains(string(text), "sparsecopy") {
			complain("%s: a finding does without sparsecopy", script)
		}
		row := rows[script]
		if row == nil {
			complain("%s has no row in %s", script, findingsPage)
			continue
		}
		delete(rows, script)
		if there := versions(row[3]); !slices.Equal(there, named) {
			complain("%s: the row has the versions %v, the head %v", script, there, named)
		}
		if date := runDate.FindStringSubmatch(head); date != nil && date[1] != row[4] {
			complain("%s: the row says that it ran on %s, the head on %s", script, row[4], date[1])
		}
	}
	for script := range rows {
		complain("%s has a row for %s, which is not there", findingsPage, script)
	}
	return complaints
}

// versions returns the versions of packages that a text names, with their v, sorted, each once.
func versions(text string) []string {
	found := version.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}

func TestIncompleteFindingsAreFound(t *testing.T) {
	script := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o755} }
	head := "#!/bin/sh\n# What:     w\n# Packages: a.example/b v1.2.3\n# Expected: e\n# Seen:     s\n# Run:      2026-11-29\n\n"
	tree := fstest.MapFS{
		"README.md": {Data: []byte("| [a](a.sh) | w | b v1.2.3 | 2026-11-29 |\n" +
			"| [b](b.sh) | w | b v1.2.4 | 2026-11-28 |\n| [gone](gone.sh) | w | b v1.2.3 | 2026-11-29 |\n" +
			"| [d](d.sh) | w | b v1.2.3 | 2026-11-29 |\n")},
		"lib.sh": {Data: []byte("no head")},
		"a.sh":   script(head + "tool a.example/b@v1.2.3 127.0.0.1:0 chart-1.0.0.tgz\n"),
		"b.sh":   script(head),
		"c.sh":   {Data: []byte(strings.Replace(head, "# Seen:", "# Saw:", 1) + "sparsecopy\n")},
		"d.sh":   script(head + "tool a.example/b@v1.2.9\n"),
	}
	assert.Equal(t, []string{
		"b.sh: the row has the versions [v1.2.4], the head [v1.2.3]",
		"b.sh: the row says that it ran on 2026-11-28, the head on 2026-11-29",
		"c.sh is not executable",
		"c.sh: the head has no Seen, or not at its place",
		"c.sh: a finding does without sparsecopy",
		"c.sh has no row in README.md",
		"d.sh: the head does not name v1.2.9",
		"README.md has a row for gone.sh, which is not there",
	}, incompleteFindings(t, tree))
}
