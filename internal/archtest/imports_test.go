package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
)

// module is the path of the library's module; the examples' module is below it.
const module = "github.com/sparsecopy/sparsecopy"

// layers are the directories of the checkout, from the top of the import graph to the bottom. A
// package imports from its own layer and from those below it. A directory that is in no layer
// imports nothing of the checkout.
var layers = []string{"examples", "copy", "internal", "manifest"}

// libraryModules are what the library's packages may import beside the standard library and each
// other, and all that its go.mod may require directly: every user of the library downloads them.
var libraryModules = slices.Concat([]string{
	"github.com/gofrs/flock", // locks on files, on all systems
	"github.com/opencontainers/go-digest",
	"github.com/opencontainers/image-spec",
	"github.com/sirupsen/logrus",
	"go.podman.io/image/v5",
	"golang.org/x/sync",
	"golang.org/x/time", // rates of bytes
}, upstreamModules)

// upstreamModules are requirements of image/v5 itself, which whoever has that has already.
var upstreamModules = []string{
	"github.com/containers/ocicrypt",                    // types of fields that Options shares with upstream's
	"github.com/docker/distribution",                    // the errors that upstream's docker transport returns
	"github.com/docker/docker-credential-helpers",       // how it asks credential helpers
	"go.podman.io/storage",                              // where upstream looks for its configuration files
	"go.yaml.in/yaml/v3",                                // and their format
	"github.com/secure-systems-lab/go-securesystemslib", // how it encrypts private keys
	"github.com/sigstore/protobuf-specs",                // sigstore bundles
	"github.com/sigstore/sigstore",                      // what private keys sign, and how that is verified
	"golang.org/x/sys",                                  // swaps directories, and the terminals of tests
	"golang.org/x/term",                                 // is there a terminal?
	"google.golang.org/protobuf",                        // the JSON of sigstore bundles
}

// testModules are what tests and packages for tests may import as well.
var testModules = []string{
	"github.com/ProtonMail/go-crypto", // makes signatures, which upstream built with the openpgp tag does not
	"github.com/stretchr/testify",
	"golang.org/x/tools",
}

// formats are the modules that say what a list looks like.
var formats = []string{"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec"}

// restrictions narrow what single packages and files may import, themselves and through what they
// import.
var restrictions = []restriction{
	{of: "manifest", pure: true, own: []string{"manifest"}, modules: formats},
	{of: "internal/platform", pure: true, own: []string{"internal/platform", "manifest"}, modules: formats},
	{of: "internal/listtree", pure: true, own: []string{"internal/listtree", "internal/platform", "manifest"}, modules: formats},
	{of: "internal/relation", pure: true, own: []string{"internal/relation", "internal/platform", "manifest"}, modules: formats},
	{of: "internal/original", pure: true, own: []string{"internal/original", "manifest"}, modules: formats},
	{of: "internal/sparseregistry", own: []string{"internal/sparseregistry", "manifest"}, modules: formats},
	{
		of: "copy/plan", pure: true, modules: formats,
		own: []string{"copy/plan", "internal/platform", "internal/listtree", "internal/digesttag", "internal/original", "internal/prose", "internal/relation", "manifest"},
	},
	{of: "internal/digesttag", pure: true, own: []string{"internal/digesttag"}, modules: formats},
	{
		of: "internal/ocihttp", own: []string{"internal/ocihttp", "internal/bounded", "internal/clock", "internal/httpfield", "internal/turns"},
		modules: []string{"github.com/sirupsen/logrus", "go.podman.io/image/v5", "golang.org/x/time"},
	},
	{
		of: "copy/report", pure: true, modules: formats,
		own: []string{
			"copy/report", "copy/plan", "internal/platform", "internal/listtree", "internal/digesttag",
			"internal/original", "internal/prose", "internal/relation", "manifest",
		},
	},
	{of: "internal/prose", pure: true, own: []string{"internal/prose"}, modules: formats},
}

// outsiders are examples that do what any program can that imports the library: they import nothing
// that is internal to it.
var outsiders = []string{"examples/mirror", "examples/plan", "examples/dropin", "examples/internal/mirrorcmd", "examples/internal/syncfile", "examples/internal/tagselect", "examples/internal/transform", "examples/internal/page"}

// impure are the packages of the standard library, with those below them, that what is pure does
// not need: it decides, and leaves waiting, reading, writing and logging to others.
var impure = []string{"context", "database", "log", "net", "os", "plugin", "runtime", "syscall", "testing", "unsafe"}

// A restriction says what a package, or one file, may import. It does not hold for tests and
// packages for tests.
type restriction struct {
	of      string   // a directory, with those below it, or a file
	pure    bool     // nothing of impure
	own     []string // directories of the checkout
	modules []string // modules of others
}

// refuses says why the restriction forbids an import, "" if it does not.
func (r restriction) refuses(imported string) string {
	dir, ours := ownDir(imported)
	switch {
	case ours && !withinAny(dir, r.own):
		return "may import, of this repository, only " + strings.Join(r.own, ", ")
	case ours:
		return ""
	case isStandard(imported) && r.pure && withinAny(imported, impure):
		return "must stay pure"
	case !isStandard(imported) && !withinAny(imported, r.modules):
		return "may import, of others, only " + strings.Join(r.modules, ", ")
	}
	return ""
}

func TestImportsRunOneWay(t *testing.T) {
	assertNone(t, againstTheLayers(checkout(t)))
}

func TestRestrictedPackages(t *testing.T) {
	sources := checkout(t)
	for _, restriction := range restrictions {
		assertNone(t, againstRestriction(sources, restriction))
	}
}

func TestOutsidersImportNothingInternal(t *testing.T) {
	assertNone(t, againstOutside(checkout(t)))
}

func TestLibraryImportsAllowedModules(t *testing.T) {
	assertNone(t, againstTheModules(checkout(t)))
}

func TestUpstreamsCopyIsCalledByCopyOnly(t *testing.T) {
	assertNone(t, againstUpstreamsCopy(checkout(t)))
}

// againstTheLayers returns the imports, outside tests, that run from a layer to one above it, and
// the library's imports of packages for tests. Packages for tests keep to the layers too: the tests
// of every layer above use them.
func againstTheLayers(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if file.isTest() {
			continue
		}
		for _, imported := range file.imports {
			dir, ours := ownDir(imported)
			switch {
			case !ours:
			case layer(dir) < layer(file.dir()):
				complaints = append(complaints, fmt.Sprintf("%s imports %s: imports run %s", file.path, imported, strings.Join(layers, " → ")))
			case forTests(dir) && !forTests(file.dir()) && !within(file.path, "examples"):
				complaints = append(complaints, fmt.Sprintf("%s imports %s, which is for tests", file.path, imported))
			}
		}
	}
	return complaints
}

// againstOutside returns the imports of outsiders, outside tests, of what is internal to the
// library.
func againstOutside(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if file.isTest() || !withinAny(file.path, outsiders) {
			continue
		}
		for _, imported := range file.imports {
			if within(imported, module+"/internal") {
				complaints = append(complaints, fmt.Sprintf("%s imports %s, which is internal to the library", file.path, imported))
			}
		}
	}
	return complaints
}

// layer is the position of a directory's layer, past the last one for a directory that is in none.
func layer(dir string) int {
	position := slices.IndexFunc(layers, func(top string) bool { return within(dir, top) })
	if position < 0 {
		return len(layers)
	}
	return position
}

// againstRestriction returns the import paths, outside tests, that lead from what is restricted to
// what it may not import.
func againstRestriction(sources []source, r restriction) []string {
	var complaints []string
	var follow func(file source, trail []string)
	visited := map[string]bool{}
	follow = func(file source, trail []string) {
		for _, imported := range file.imports {
			here := append(slices.Clone(trail), imported)
			if why := r.refuses(imported); why != "" {
				complaints = append(complaints, fmt.Sprintf("%s: %s %s", strings.Join(here, " → "), r.of, why))
				continue
			}
			dir, ours := ownDir(imported)
			if !ours || visited[dir] {
				continue
			}
			visited[dir] = true
			for _, next := range sources {
				if next.dir() == dir && !next.isTest() {
					follow(next, append(slices.Clone(here), path.Base(next.path)))
				}
			}
		}
	}
	for _, file := range sources {
		if within(file.path, r.of) && !file.isTest() && !forTests(file.dir()) {
			follow(file, []string{file.path})
		}
	}
	return complaints
}

// againstTheModules returns the library's imports of modules that it may not use.
func againstTheModules(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if within(file.path, "examples") {
			continue
		}
		allowed := libraryModules
		if file.isTest() || forTests(file.dir()) {
			allowed = slices.Concat(libraryModules, testModules)
		}
		for _, imported := range file.imports {
			if _, ours := ownDir(imported); !ours && !isStandard(imported) && !withinAny(imported, allowed) {
				complaints = append(complaints, fmt.Sprintf("%s imports %s, of a module that it may not use", file.path, imported))
			}
		}
	}
	return complaints
}

// againstUpstreamsCopy returns the library's imports of upstream's copy outside copy: what is
// handed to it is decided in one place.
func againstUpstreamsCopy(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		exempt := file.isTest() || forTests(file.dir()) || within(file.path, "copy") || within(file.path, "examples")
		if !exempt && slices.Contains(file.imports, "go.podman.io/image/v5/copy") {
			complaints = append(complaints, file.path+" imports go.podman.io/image/v5/copy: only copy hands work to it")
		}
	}
	return complaints
}

// ownDir is the directory of a package of the checkout; ours reports whether it is one.
func ownDir(imported string) (dir string, ours bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// forTests reports whether a directory holds a package that only tests use: the name ends as
// net/http/httptest's does.
func forTests(dir string) bool { return strings.HasSuffix(dir, "test") }

// isStandard reports whether a package is of the standard library: the first element of other paths
// has a dot.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// assertNone fails the test once for each complaint.
func assertNone(t *testing.T, complaints []string) {
	t.Helper()
	for _, complaint := range complaints {
		t.Error(complaint)
	}
}
