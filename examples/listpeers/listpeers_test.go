package main

import (
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

var update = flag.Bool("update", false, "rewrite what docs/lists.md says of this library")

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	os.Exit(hermetictest.Main(m.Run))
}

// TestOurRows copies two platforms of each kind of list, and one, and holds what docs/lists.md says
// of this library against that.
func TestOurRows(t *testing.T) {
	text, err := os.ReadFile(listsPage)
	require.NoError(t, err)
	p := page(text)
	b := newBench("", t.TempDir())
	defer b.close()
	for _, k := range kinds {
		r := b.both(t.Context(), k, b.push(k), ours)
		p = held(t, p, k.name, "| sparsecopy |", k.row(r))
		verdict := "| [" + k.name + "](#" + k.name + ") |"
		cells := strings.Split(strings.TrimSuffix(line(t, p, "overview", verdict), " |\n"), " | ")
		cells[len(cells)-1] = k.verdict(r)
		p = held(t, p, "overview", verdict, strings.Join(cells, " | ")+" |\n")
	}
	if *update {
		require.NoError(t, os.WriteFile(listsPage, []byte(p), 0o644))
	}
}

// line returns the line of a block that begins with prefix.
func line(t *testing.T, p page, block, prefix string) string {
	t.Helper()
	text, err := p.block(block)
	require.NoError(t, err)
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	require.Fail(t, "no such line", "%s in block %s", prefix, block)
	return ""
}

// held compares the line of a block that begins with prefix with what it should be, and returns the
// page with that.
func held(t *testing.T, p page, block, prefix, want string) page {
	t.Helper()
	was := line(t, p, block, prefix)
	if !*update {
		assert.Equal(t, want, was, "docs/lists.md, %s: run go test -update ./listpeers, and read the difference", block)
	}
	text, err := p.block(block)
	require.NoError(t, err)
	p, err = p.with(block, strings.Replace(text, was, want, 1))
	require.NoError(t, err)
	return p
}

// TestPageNamesTests looks for each test and each golden plan that the first table of docs/lists.md
// names: the row of each kind has one at least. Each kind has a part of the page, too.
func TestPageNamesTests(t *testing.T) {
	text, err := os.ReadFile(listsPage)
	require.NoError(t, err)
	tests := testsOf(t, root)
	held := regexp.MustCompile("`(Test[A-Za-z0-9]+|[a-z0-9-]+\\.txtar)`")
	first, _, _ := strings.Cut(string(text), "\n## What was run\n")
	for _, k := range kinds {
		assert.Contains(t, string(text), "\n### "+k.name+"\n")
		row := regexp.MustCompile(`(?m)^\|[^|]*\[` + k.name + `\]\(#` + k.name + `\).*$`).FindString(first)
		cells := strings.Split(row, "|")
		require.Len(t, cells, 7, "the row of %s", k.name)
		names := held.FindAllStringSubmatch(cells[5], -1)
		assert.NotEmpty(t, names, "what holds the row of %s", k.name)
		for _, name := range names {
			if strings.HasSuffix(name[1], ".txtar") {
				assert.FileExists(t, filepath.Join(root, "testdata", "plans", name[1]))
			} else {
				assert.True(t, tests[name[1]], "there is no %s", name[1])
			}
		}
	}
}

// testsOf returns the names of all tests below dir.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declaration.FindAllStringSubmatch(string(text), -1) {
			tests[found[1]] = true
		}
		return err
	}))
	return tests
}
