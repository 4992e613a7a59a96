package mirrorcmd

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/progress"
	"github.com/sparsecopy/sparsecopy/internal/progress/terminaltest"
)

// TestProgressOnATerminal draws a picture, of which nothing stays but the lines above it; none
// where the log is written, too.
func TestProgressOnATerminal(t *testing.T) {
	terminal := terminaltest.NewPseudo(t, 80, 10)
	e := &environment{stderr: terminal.Writer}
	p := e.startProgress(&output{}, 3)
	terminal.WaitFor(`^images 0/3  blobs 0 `)
	p.Print("[1/3] copied")
	terminal.WaitFor(`^\[1/3\] copied\nimages 0/3 `)
	p.Close()
	assert.False(t, progress.InUse(terminal.Writer))
	for _, o := range []output{{debug: true}, {logJSON: true}} {
		p = e.startProgress(&o, 3)
		assert.False(t, progress.InUse(terminal.Writer))
		p.Close()
	}
	assert.Equal(t, []string{"[1/3] copied"}, terminal.FinalLines())
}
