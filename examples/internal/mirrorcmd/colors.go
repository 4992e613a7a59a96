package mirrorcmd

import (
	"os"
	"runtime"

	"golang.org/x/term"

	"github.com/sparsecopy/sparsecopy/examples/internal/late"
)

// verdict is the word at the beginning of a line that says how something ended.
var verdict = late.Regexp(`(?m)^(?:damaged|failed|wrong|postponed|warning)\b`)

// colors are those of verdicts, for a terminal. What is damaged is not to be taken for what the
// next run mends.
var colors = map[string]string{
	"damaged": "\x1b[1;97;45m", // white on magenta
	"failed":  "\x1b[1;31m", "wrong": "\x1b[1;31m",
	"postponed": "\x1b[33m", "warning": "\x1b[33m",
}

// colored returns text, in which nothing else can do something to a terminal, with its verdicts in
// color.
func colored(text string) string {
	return verdict().ReplaceAllStringFunc(text, func(word string) string { return colors[word] + word + "\x1b[0m" })
}

// showsColors reports whether what is written to stdout goes to a terminal that is to have colors.
func (e *environment) showsColors() bool {
	f, ok := e.stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb" && runtime.GOOS != "windows"
}

// shown returns a report as people are to see it: in the words of the command line, and on a
// terminal with colors.
func (e *environment) shown(text string) string {
	text = printable(e.told(text))
	if e.showsColors() {
		return colored(text)
	}
	return text
}
