package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// marker is a word that leaves work for later; explained is one that says why, after a colon.
var (
	marker    = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	explained = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)(\([^)]+\))?: +\S+ +\S+`)
)

func TestWorkLeftForLaterHasAReason(t *testing.T) {
	assertNone(t, unexplained(checkout(t)))
}

// testsOnly are functions that change how programs work, for tests of them.
var testsOnly = []string{"LowerRanges", "LowerNotes"}

func TestOnlyTestsChangeHowProgramsWork(t *testing.T) {
	assertNone(t, changing(checkout(t)))
}

// changing returns the places outside tests that use a function of testsOnly.
func changing(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if file.isTest() {
			continue
		}
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && slices.Contains(testsOnly, s.Sel.Name) {
				complaints = append(complaints, fmt.Sprintf("%s: %s is for tests", file.line(s.Pos()), s.Sel.Name))
			}
			return true
		})
	}
	return complaints
}

func TestPackageCommentIsTheMap(t *testing.T) {
	assertNone(t, withoutMap(checkout(t)))
}

// unexplained returns the comment lines with a marker that no reason follows.
func unexplained(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		for _, group := range file.syntax.Comments {
			for _, comment := range group.List {
				for text := range strings.Lines(comment.Text) {
					if marker.MatchString(text) && !explained.MatchString(text) {
						complaints = append(complaints, fmt.Sprintf("%s: no reason in %q", file.line(comment.Pos()), strings.TrimSpace(text)))
					}
				}
			}
		}
	}
	return complaints
}

// withoutMap returns the packages that do not have one package comment, where a reader looks for
// it: in doc.go, in the file that is named as the package, or in main.go. Packages that consist of
// tests need none.
func withoutMap(sources []source) []string {
	packages := map[string][]source{}
	for _, file := range sources {
		if !file.isTest() {
			packages[file.dir()] = append(packages[file.dir()], file)
		}
	}
	var complaints []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		var commented []string
		for _, file := range packages[dir] {
			if file.syntax.Doc != nil {
				commented = append(commented, path.Base(file.path))
			}
		}
		places := []string{"doc.go", packages[dir][0].syntax.Name.Name + ".go"}
		if len(commented) != 1 || !slices.Contains(places, commented[0]) {
			complaints = append(complaints, fmt.Sprintf("%s: wants one package comment, in %s; found %q", dir, strings.Join(places, " or "), commented))
		}
	}
	return complaints
}

// maxColumns is how wide a comment may be, where a tab counts as four columns.
const maxColumns = 100

// commentLine is a line of prose in a comment of its own. What is indented in it is laid out on
// purpose, and may be wider.
var commentLine = regexp.MustCompile(`^\t*// ?\S`)

func TestCommentsAreNarrow(t *testing.T) {
	assertNone(t, wideComments(t, os.DirFS(root)))
}

// wideComments returns the lines of comments in Go files that are wider than maxColumns.
func wideComments(t *testing.T, tree fs.FS) []string {
	t.Helper()
	sources, err := parseTree(tree)
	require.NoError(t, err)
	var complaints []string
	for _, file := range sources {
		text, err := fs.ReadFile(tree, file.path)
		require.NoError(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			width := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    "))
			if commentLine.MatchString(line) && width > maxColumns {
				complaints = append(complaints, fmt.Sprintf("%s:%d: %d columns", file.path, i+1, width))
			}
		}
	}
	return complaints
}
