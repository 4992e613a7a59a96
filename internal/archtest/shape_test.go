package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shapely are the packages whose files are short, and whose types have their methods together.
var shapely = []string{"copy", "copy/plan", "copy/report", "manifest", "internal/platform", "internal/listtree"}

// Limits for the packages that are shapely.
const (
	maxLines       = 500 // of a file without tests
	maxMethodFiles = 2   // with methods of one type
)

func TestFilesAreShort(t *testing.T) {
	assertNone(t, longFiles(checkout(t), shapely))
}

// maxPackageLines are how long packages may be in all, without tests. What has a name of its own
// and needs nothing of package copy goes elsewhere: to a package below it.
var maxPackageLines = map[string]int{"copy": 4_500}

func TestPackagesAreShort(t *testing.T) {
	assertNone(t, longPackages(checkout(t), maxPackageLines))
}

func TestMethodsAreTogether(t *testing.T) {
	assertNone(t, scattered(checkout(t), shapely))
}

// maxPlanPackages is how many packages the planner may consist of, itself and the standard
// library's included: whoever plans without copying links these, and not the 560 of package copy.
const maxPlanPackages = 130

// TestPlannerIsSmall counts what the planner links.
func TestPlannerIsSmall(t *testing.T) {
	require.FileExists(t, path.Join(root, "go.mod")) // as in TestLibraryRequiresAllowedModules
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "./copy/plan")
	command.Dir = root
	output, err := command.Output()
	require.NoError(t, err)
	packages := strings.Fields(string(output))
	require.Contains(t, packages, module+"/copy/plan")
	assert.Less(t, len(packages), maxPlanPackages, "%s", output)
}

// longFiles returns the files of packages that are longer than maxLines, but for tests.
func longFiles(sources []source, packages []string) []string {
	var complaints []string
	for _, file := range sources {
		lines := file.fset.Position(file.syntax.FileEnd).Line
		if slices.Contains(packages, file.dir()) && !file.isTest() && lines > maxLines {
			complaints = append(complaints, fmt.Sprintf("%s has %d lines, more than %d", file.path, lines, maxLines))
		}
	}
	return complaints
}

// longPackages returns the packages that are longer than limits say, without their tests.
func longPackages(sources []source, limits map[string]int) []string {
	lines := map[string]int{}
	for _, file := range sources {
		if !file.isTest() {
			lines[file.dir()] += file.fset.Position(file.syntax.FileEnd).Line
		}
	}
	var complaints []string
	for _, dir := range slices.Sorted(maps.Keys(limits)) {
		if most := limits[dir]; lines[dir] > most {
			complaints = append(complaints, fmt.Sprintf("%s has %d lines, more than %d", dir, lines[dir], most))
		}
	}
	return complaints
}

// scattered returns the types of packages that have methods in more than maxMethodFiles files.
func scattered(sources []source, packages []string) []string {
	files := map[string][]string{} // by type
	for _, file := range sources {
		if !slices.Contains(packages, file.dir()) || file.isTest() {
			continue
		}
		for _, decl := range file.syntax.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			name := file.dir() + "." + receiver(f.Recv.List[0].Type)
			if base := path.Base(file.path); !slices.Contains(files[name], base) {
				files[name] = append(files[name], base)
			}
		}
	}
	var complaints []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if in := files[name]; len(in) > maxMethodFiles {
			complaints = append(complaints, fmt.Sprintf("%s has methods in %s: more than %d files", name, strings.Join(in, ", "), maxMethodFiles))
		}
	}
	return complaints
}

// receiver returns the name of the type that a receiver is of.
func receiver(expr ast.Expr) string {
	switch e := expr.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr: // of a generic type
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}
