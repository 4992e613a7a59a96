package archtest

import (
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withoutRaceLine is where the Makefile names the tests that run without the race detector.
var withoutRaceLine = regexp.MustCompile(`(?m)^WITHOUT_RACE := (.*)$`)

// TestWithoutRaceIsRun looks for tests that the race detector leaves out, and that make test does
// not run beside it.
func TestWithoutRaceIsRun(t *testing.T) {
	makefile, err := os.ReadFile(path.Join(root, "Makefile"))
	require.NoError(t, err)
	line := withoutRaceLine.FindSubmatch(makefile)
	require.NotNil(t, line)
	assert.ElementsMatch(t, strings.Split(string(line[1]), "|"), withoutRace(checkout(t)))
}

// withoutRace returns the names of the tests that are not compiled with the race detector.
func withoutRace(sources []source) []string {
	var names []string
	for _, file := range sources {
		if !file.isTest() || !slices.ContainsFunc(file.syntax.Comments, excludesRace) {
			continue
		}
		for _, decl := range file.syntax.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

func excludesRace(comment *ast.CommentGroup) bool {
	return strings.HasPrefix(comment.List[0].Text, "//go:build ") && strings.Contains(comment.List[0].Text, "!race")
}

func TestWithoutRace(t *testing.T) {
	tree := fstest.MapFS{
		"a/a_test.go": {Data: []byte("//go:build !race\n\npackage a\n\nfunc TestA() {}\n\nfunc help() {}\n")},
		"a/b_test.go": {Data: []byte("//go:build linux && !race\n\npackage a\n\nfunc TestB() {}\n")},
		"a/c_test.go": {Data: []byte("package a\n\n// !race\nfunc TestC() {}\n")},
		"a/d_test.go": {Data: []byte("//go:build race\n\npackage a\n\nfunc TestD() {}\n")},
	}
	sources, err := parseTree(tree)
	require.NoError(t, err)
	assert.Equal(t, []string{"TestA", "TestB"}, withoutRace(sources))
}
