package archtest

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

// machineReaders are the packages, with those below them, that read this machine's configuration,
// credentials, caches or signatures unless they are told where else to look.
var machineReaders = []string{
	"go.podman.io/image/v5/copy", "go.podman.io/image/v5/docker", "go.podman.io/image/v5/storage", "go.podman.io/image/v5/transports/alltransports",
	module + "/copy", module + "/internal/endpoint/registry", module + "/internal/endpoint/transport", module + "/examples/internal/mirrorcmd",
}

// pureOfReaders are packages within these that read nothing.
var pureOfReaders = []string{"go.podman.io/image/v5/docker/reference", module + "/copy/plan"}

func TestTestsReadNothingOfTheMachine(t *testing.T) {
	assertNone(t, atHome(checkout(t)))
}

// atHome returns the packages whose tests reach a reader of the machine, directly, and have no home
// of their own.
func atHome(sources []source) []string {
	reads, tested, led := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, file := range sources {
		dir := file.dir()
		if file.isTest() {
			tested[dir] = true
			led[dir] = led[dir] || usesHermeticMain(file)
		}
		for _, imported := range append(slices.Clone(file.imports), module+"/"+dir) {
			if withinAny(imported, machineReaders) && !withinAny(imported, pureOfReaders) {
				reads[dir] = imported
			}
		}
	}
	var complaints []string
	for _, dir := range slices.Sorted(maps.Keys(reads)) {
		if tested[dir] && !led[dir] {
			complaints = append(complaints, dir+": its tests use "+reads[dir]+", and lack a TestMain that calls hermetictest.Main")
		}
	}
	return complaints
}

// usesHermeticMain reports whether a file mentions hermetictest.Main.
func usesHermeticMain(file source) bool {
	if !slices.ContainsFunc(file.imports, func(imported string) bool { return strings.HasSuffix(imported, "/hermetictest") }) {
		return false
	}
	found := false
	ast.Inspect(file.syntax, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok && selector.Sel.Name == "Main" {
			pkg, ok := selector.X.(*ast.Ident)
			found = found || ok && pkg.Name == "hermetictest"
		}
		return !found
	})
	return found
}
