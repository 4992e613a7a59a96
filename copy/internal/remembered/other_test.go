//go:build !unix

package remembered

import "testing"

// makePipe skips the test: pipes are no files here.
func makePipe(t *testing.T, _ string) { t.Skip("there are no pipes among the files here") }
