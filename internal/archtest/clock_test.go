package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"testing"
)

// clocks is the package that asks the machine for the time, and lets it wait. The others have a
// clock, so that tests can move it.
const clocks = "internal/clock"

// asking are the functions of package time that ask the machine for the time, and waiting those
// that wait by it.
var (
	asking  = []string{"Now", "Since", "Until"}
	waiting = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Sleep", "Tick"}
)

// byTheMachine are files that wait by the machine's time, whatever a clock says: for bytes, screens
// and other processes.
var byTheMachine = []string{
	"copy/internal/copytest/leaks.go",
	"copy/internal/copytest/peer.go",
	"examples/mirror/main.go",
	"internal/endpoint/transport/layout.go",
	"internal/ocihttp/ahead.go",
	"internal/ocihttp/stall.go",
	"internal/progress/overview.go",
	"internal/progress/terminal.go",
	"internal/registrytest/delay.go",
	"internal/registrytest/registry.go",
}

func TestTimeIsAskedInOnePlace(t *testing.T) {
	assertNone(t, askingForTheTime(checkout(t)))
}

// askingForTheTime returns the places, outside tests and clocks, that use a function of asking, or
// one of waiting unless they are byTheMachine.
func askingForTheTime(sources []source) []string {
	var complaints []string
	for _, file := range sources {
		if file.isTest() || file.dir() == clocks {
			continue
		}
		refused := asking
		if !slices.Contains(byTheMachine, file.path) {
			refused = slices.Concat(asking, waiting)
		}
		name := file.nameOf("time")
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && isName(s.X, name) && slices.Contains(refused, s.Sel.Name) {
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
