package archtest

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestChecksComplain gives each check a small checkout that breaks its rule, next to files that do
// not.
func TestChecksComplain(t *testing.T) {
	pure := restriction{of: "copy/plan.go", pure: true, own: []string{"."}, modules: formats}
	for _, c := range []struct {
		name  string
		check func([]source) []string
		files map[string]string
		want  []string
	}{
		{
			name:  "a lower layer imports a higher one",
			check: againstTheLayers,
			files: map[string]string{
				"examples/mirror/main.go":  imports(module+"/copy", module+"/internal/imagetest"),
				"copy/copy.go":             imports(module+"/internal/endpoint", module+"/manifest"),
				"internal/endpoint/end.go": imports("context", module+"/copy"),
				"manifest/list.go":         imports("github.com/opencontainers/go-digest"),
				"manifest/list_test.go":    imports(module + "/internal/imagetest"),
			},
			want: []string{"internal/endpoint/end.go imports " + module + "/copy: imports run examples → copy → internal → manifest"},
		},
		{
			name:  "the time is asked past the clock",
			check: askingForTheTime,
			files: map[string]string{
				"copy/copy.go":              "package p\nimport \"time\"\nvar a = time.Now()\n",
				"copy/copy_test.go":         "package p\nimport \"time\"\nvar a = time.Now()\n",
				"copy/other.go":             "package p\nimport std \"time\"\nvar a, time, b = std.Since, 1, time.Until()\n",
				"copy/quiet.go":             "package p\nimport \"time\"\nvar a = time.Hour\n",
				"copy/waits.go":             "package p\nimport \"time\"\nvar a = time.NewTimer(1)\n",
				"internal/clock/clock.go":   "package p\nimport \"time\"\nvar a = time.Now()\n",
				"internal/ocihttp/stall.go": "package p\nimport \"time\"\nvar a = time.NewTimer(time.Until())\n",
			},
			want: []string{
				"copy/copy.go:3: time.Now: ask a clock (internal/clock, copy.SystemClock)",
				"copy/other.go:3: time.Since: ask a clock (internal/clock, copy.SystemClock)",
				"copy/waits.go:3: time.NewTimer: ask a clock (internal/clock, copy.SystemClock)",
				"internal/ocihttp/stall.go:3: time.Until: ask a clock (internal/clock, copy.SystemClock)",
			},
		},
		{
			name:  "a program is changed as tests do it",
			check: changing,
			files: map[string]string{
				"copy/copy.go":      "package p\nfunc f() { registry.LowerRanges(1, 1, 0) }\n",
				"copy/copy_test.go": "package p\nfunc f() { registry.LowerRanges(1, 1, 0) }\n",
			},
			want: []string{"copy/copy.go:2: LowerRanges is for tests"},
		},
		{
			name:  "the library imports an example",
			check: againstTheLayers,
			files: map[string]string{"copy/copy.go": imports(module + "/examples/plan")},
			want:  []string{"copy/copy.go imports " + module + "/examples/plan: imports run examples → copy → internal → manifest"},
		},
		{
			name:  "the library imports a package for tests",
			check: againstTheLayers,
			files: map[string]string{
				"copy/copy.go":                  imports(module + "/internal/imagetest"),
				"internal/registrytest/test.go": imports(module + "/internal/imagetest"),
			},
			want: []string{"copy/copy.go imports " + module + "/internal/imagetest, which is for tests"},
		},
		{
			name:  "a program does what others cannot",
			check: againstOutside,
			files: map[string]string{
				"examples/mirror/main.go":                imports(module+"/copy", module+"/examples/internal/mirrorcmd"),
				"examples/internal/mirrorcmd/sync.go":    imports(module + "/internal/endpoint"),
				"examples/internal/mirrorcmd/a_test.go":  imports(module + "/internal/endpoint"),
				"examples/sparse-registry/main.go":       imports(module + "/internal/sparseregistry"),
				"examples/internal/syncfile/internal.go": imports("internal/x"),
			},
			want: []string{"examples/internal/mirrorcmd/sync.go imports " + module + "/internal/endpoint, which is internal to the library"},
		},
		{
			name:  "a pure file is impure, directly and through what it imports",
			check: func(sources []source) []string { return againstRestriction(sources, pure) },
			files: map[string]string{
				"copy/plan.go":               imports("strings", "context", module+"/internal/listtree"),
				"copy/copy.go":               imports("context", "go.podman.io/image/v5/types"),
				"internal/listtree/tree.go":  imports(module + "/internal/endpoint"),
				"internal/endpoint/end.go":   imports("net/http", module+"/internal/listtree"),
				"internal/endpoint/types.go": imports("go.podman.io/image/v5/types"),
			},
			want: []string{
				"copy/plan.go → context: copy/plan.go must stay pure",
				"copy/plan.go → " + module + "/internal/listtree → tree.go → " + module + "/internal/endpoint → end.go → net/http: copy/plan.go must stay pure",
				"copy/plan.go → " + module + "/internal/listtree → tree.go → " + module + "/internal/endpoint → types.go → go.podman.io/image/v5/types: " +
					"copy/plan.go may import, of others, only github.com/opencontainers/go-digest, github.com/opencontainers/image-spec",
			},
		},
		{
			name:  "a package imports what it may not, of this repository",
			check: func(sources []source) []string { return againstRestriction(sources, restrictions[0]) },
			files: map[string]string{
				"manifest/list.go":              imports(module + "/internal/platform"),
				"manifest/list_test.go":         imports("context"),
				"manifest/manifesttest/list.go": imports("context"),
			},
			want: []string{"manifest/list.go → " + module + "/internal/platform: manifest may import, of this repository, only manifest"},
		},
		{
			name:  "a module that users of the library would download",
			check: againstTheModules,
			files: map[string]string{
				"copy/copy.go":      imports("github.com/stretchr/testify/assert", "go.podman.io/image/v5/types", "go.podman.io/image/v5x"),
				"copy/copy_test.go": imports("github.com/stretchr/testify/assert"),
				"examples/x/x.go":   imports("github.com/spf13/cobra"),
			},
			want: []string{
				"copy/copy.go imports github.com/stretchr/testify/assert, of a module that it may not use",
				"copy/copy.go imports go.podman.io/image/v5x, of a module that it may not use",
			},
		},
		{
			name:  "upstream's copy elsewhere than in copy",
			check: againstUpstreamsCopy,
			files: map[string]string{
				"copy/upstream.go":         imports("go.podman.io/image/v5/copy"),
				"internal/endpoint/end.go": imports("go.podman.io/image/v5/copy"),
			},
			want: []string{"internal/endpoint/end.go imports go.podman.io/image/v5/copy: only copy hands work to it"},
		},
		{
			name:  "work left for later",
			check: unexplained,
			files: map[string]string{"copy/copy.go": "package copy\n\n// TODO\n\n/*\n FIXME(me)\n*/\n\n// TODO: wait for upstream to export it.\n\n// TODOs are fine in prose.\n"},
			want:  []string{`copy/copy.go:3: no reason in "// TODO"`, `copy/copy.go:5: no reason in "FIXME(me)"`},
		},
		{
			name:  "a long file",
			check: func(sources []source) []string { return longFiles(sources, []string{"copy"}) },
			files: map[string]string{
				"copy/long.go":      "package copy\n" + strings.Repeat("\n", maxLines),
				"copy/short.go":     "package copy\n" + strings.Repeat("\n", maxLines-1),
				"copy/long_test.go": "package copy\n" + strings.Repeat("\n", maxLines),
				"copy/plan/long.go": "package plan\n" + strings.Repeat("\n", maxLines),
			},
			want: []string{"copy/long.go has 501 lines, more than 500"},
		},
		{
			name:  "a package that is too long",
			check: func(sources []source) []string { return longPackages(sources, map[string]int{"copy": 5, "x": 9}) },
			files: map[string]string{
				"copy/a.go":      "package copy\n\n// a",
				"copy/a_test.go": "package copy\n\n\n\n\n\n\n",
				"copy/b.go":      "package copy\n\n// b",
				"copy/c/c.go":    "package c\n\n\n\n\n\n\n",
				"x/x.go":         "package x\n\n\n\n\n\n\n",
			},
			want: []string{"copy has 6 lines, more than 5"},
		},
		{
			name:  "methods all over the files",
			check: func(sources []source) []string { return scattered(sources, []string{"copy"}) },
			files: map[string]string{
				"copy/a.go":      "package copy\nfunc (*T) A() {}\nfunc (u U) A() {}\nfunc F() {}",
				"copy/b.go":      "package copy\nfunc (t T) B() {}\nfunc (t T) BB() {}\nfunc (*U) B() {}",
				"copy/c.go":      "package copy\nfunc (t *T) C() {}",
				"copy/c_test.go": "package copy\nfunc (u *U) C() {}",
				"copy/plan/a.go": "package plan\nfunc (u *U) C() {}",
			},
			want: []string{"copy.T has methods in a.go, b.go, c.go: more than 2 files"},
		},
		{
			name:  "tests that read the machine's configuration",
			check: atHome,
			files: map[string]string{
				"copy/a_test.go":                        imports(module + "/internal/hermetictest"), // without a call
				"examples/a/main.go":                    imports("go.podman.io/image/v5/transports/alltransports"),
				"examples/a/main_test.go":               "package a",
				"examples/b/main.go":                    imports(module + "/copy"),
				"examples/c/main.go":                    imports("go.podman.io/image/v5/docker/reference", module+"/copy/plan"),
				"examples/c/main_test.go":               "package c",
				"internal/endpoint/registry/x.go":       "package x",
				"internal/endpoint/registry/x_test.go":  "package x\nimport \"" + module + "/internal/hermetictest\"\nvar _ = hermetictest.Main",
				"internal/endpoint/registry/xx_test.go": "package x",
			},
			want: []string{
				"copy: its tests use " + module + "/copy, and lack a TestMain that calls hermetictest.Main",
				"examples/a: its tests use go.podman.io/image/v5/transports/alltransports, and lack a TestMain that calls hermetictest.Main",
			},
		},
		{
			name:  "packages without a map",
			check: withoutMap,
			files: map[string]string{
				"a/doc.go": "// Package a is a.\npackage a", "a/b.go": "package a",
				"b/b.go":   "// Package b is b.\npackage b",
				"c/c.go":   "package c",
				"d/doc.go": "// Package d is d.\npackage d", "d/d.go": "// Package d is more.\npackage d",
				"e/x.go":      "// Package e is hidden.\npackage e",
				"f/main.go":   "// Command f runs.\npackage main",
				"g/g_test.go": "package g",
			},
			want: []string{
				"c: wants one package comment, in doc.go or c.go; found []",
				`d: wants one package comment, in doc.go or d.go; found ["d.go" "doc.go"]`,
				`e: wants one package comment, in doc.go or e.go; found ["x.go"]`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range c.files {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			sources, err := parseTree(tree)
			require.NoError(t, err)
			assert.Equal(t, c.want, c.check(sources))
		})
	}
}

func TestParseTreeSkipsWhatTheGoCommandSkips(t *testing.T) {
	tree := fstest.MapFS{}
	for _, name := range []string{"a/a.go", "a/a.txt", "a/_a.go", ".git/a.go", "a/testdata/a.go", "vendor/a.go"} {
		tree[name] = &fstest.MapFile{Data: []byte("package a")}
	}
	sources, err := parseTree(tree)
	require.NoError(t, err)
	require.Len(t, sources, 1)
	assert.Equal(t, "a/a.go", sources[0].path)

	_, err = parseTree(fstest.MapFS{"a.go": {Data: []byte("no Go")}})
	assert.ErrorContains(t, err, "a.go:1:1")
}

// imports is a file that imports paths.
func imports(paths ...string) string {
	text := "package p\n"
	for _, path := range paths {
		text += "import _ \"" + path + "\"\n"
	}
	return text
}

func TestWideCommentsAreFound(t *testing.T) {
	long := strings.Repeat("x", maxColumns)
	tree := fstest.MapFS{"a.go": {Data: []byte("// Package a is.\n//\n//    laid out " + long + "\npackage a\n\nfunc f() {\n\t// " + long + "\n}\n\nvar v = `" + long + "`\n")}}
	assert.Equal(t, []string{"a.go:7: 107 columns"}, wideComments(t, tree))
}
