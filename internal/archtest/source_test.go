package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the top of the checkout, as seen from this package's directory.
const root = "../.."

// A source is one Go file of the checkout.
type source struct {
	path    string // slash-separated, relative to the top
	syntax  *ast.File
	imports []string
	fset    *token.FileSet
}

// dir is the directory of the file, "." for the top.
func (s source) dir() string { return path.Dir(s.path) }

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// line is where pos is, as path:line.
func (s source) line(pos token.Pos) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(pos).Line)
}

// checkout returns all sources of both modules, which are not to be changed.
func checkout(t *testing.T) []source {
	t.Helper()
	sources, err := parseCheckout()
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	return sources
}

// parseCheckout parses them once, for all tests.
var parseCheckout = sync.OnceValues(func() ([]source, error) { return parseTree(os.DirFS(root)) })

// parseTree parses the Go files below the top of tree, for every platform and build tag, and
// returns them in the order of their paths. It skips what the go command skips.
func parseTree(tree fs.FS) ([]source, error) {
	fset := token.NewFileSet()
	var sources []source
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped(name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go" || skipped(name):
			return nil
		}
		parsed, err := parseFile(fset, tree, name)
		sources = append(sources, parsed)
		return err
	})
	return sources, err
}

func skipped(name string) bool {
	base := path.Base(name)
	return name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor")
}

func parseFile(fset *token.FileSet, tree fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		return source{}, err
	}
	syntax, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	parsed := source{path: name, syntax: syntax, fset: fset}
	for _, spec := range syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		parsed.imports = append(parsed.imports, imported)
	}
	return parsed, nil
}

// within reports whether name is dir or something below it; everything is within ".".
func within(name, dir string) bool {
	return dir == "." || name == dir || strings.HasPrefix(name, dir+"/")
}

// withinAny reports whether name is within one of dirs.
func withinAny(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(name, dir) })
}
