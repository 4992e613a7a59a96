package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// clocks is the package that asks the machine for the time. The others have a clock, so that tests
// can move it.
const clocks = "internal/clock"

// asking are the functions of package time that ask the machine for the time.
var asking = []string{"Now", "Since", "Until"}

func TestTimeIsAskedInOnePlace(t *testing.T) {
	assertNone(t, askingForTheTime(checkout(t)))
}

// askingForTheTime returns the places, outside tests and clocks, that use a function of asking.
func askingForTheTime(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if file.isTest() || file.dir() == clocks {
			continue
		}
		name := file.nameOf("time")
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && isName(s.X, name) && slices.Contains(asking, s.Sel.Name) {
				complaints = append(complaints, fmt.Sprintf("%s: time.%s: ask a clock (%s, copy.SystemClock)", file.line(s.Pos()), s.Sel.Name, clocks))
			}
			return true
		})
	}
	return complaints
}

// nameOf is what the file calls a package of the standard library that it imports; "" if it does
// not.
func (s source) nameOf(standard string) string {
	for i, imported := range s.imports {
		if imported != standard {
			continue
		}
		if as := s.syntax.Imports[i].Name; as != nil {
			return as.Name
		}
		return standard
	}
	return ""
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}
