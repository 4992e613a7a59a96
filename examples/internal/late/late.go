// Package late puts off what a package would otherwise prepare before main, and each start of a
// program would pay for, until it is needed.
package late

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles the expression when it is called first, and returns the
// same each time. It panics if the expression cannot be parsed. It is safe for concurrent use.
func Regexp(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
