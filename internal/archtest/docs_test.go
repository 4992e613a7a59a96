package archtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// designPage is the map of the house.
const designPage = "docs/design.md"

// room is the first cell of a row of the tables of rooms.
var room = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|")

// TestDesignNamesEveryRoom holds the tables of the design page against the library's packages.
func TestDesignNamesEveryRoom(t *testing.T) {
	page, err := os.ReadFile(path.Join(root, designPage))
	require.NoError(t, err)
	var named, there []string
	for _, row := range room.FindAllStringSubmatch(string(page), -1) {
		named = append(named, row[1])
	}
	for _, file := range checkout(t) {
		if !within(file.path, "examples") && !within(file.path, "tools") {
			there = append(there, file.dir())
		}
	}
	slices.Sort(named)
	slices.Sort(there)
	assert.Equal(t, strings.Join(slices.Compact(there), "\n"), strings.Join(named, "\n"), "the packages, and the rooms that %s names", designPage)
}

// pathForm is something in backticks, from the top of the checkout, that is a file or a directory.
var pathForm = regexp.MustCompile("`((?:\\.ci|copy|docs|examples|findings|internal|manifest|testdata|tools)/[A-Za-z0-9_./-]*)`")

// TestPagesNameWhatIsThere looks for the files and directories that the pages of the repository
// name.
func TestPagesNameWhatIsThere(t *testing.T) {
	assertNone(t, namedAndAbsent(t, os.DirFS(root)))
}

// namedAndAbsent returns the paths that pages name and that tree does not have.
func namedAndAbsent(t *testing.T, tree fs.FS) []string {
	t.Helper()
	var complaints []string
	for _, pattern := range []string{"*.md", "docs/*.md", "findings/*.md", "testdata/*/*.md"} {
		pages, err := fs.Glob(tree, pattern)
		require.NoError(t, err)
		for _, page := range pages {
			text, err := fs.ReadFile(tree, page)
			require.NoError(t, err)
			for _, match := range pathForm.FindAllStringSubmatch(string(text), -1) {
				if _, err := fs.Stat(tree, strings.TrimSuffix(match[1], "/")); errors.Is(err, fs.ErrNotExist) {
					complaints = append(complaints, fmt.Sprintf("%s names %s, which is not there", page, match[1]))
				}
			}
		}
	}
	return complaints
}
