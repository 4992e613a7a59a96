package mirrorcmd

import (
	"io"
	"os"

	"github.com/spf13/pflag"

	"github.com/sparsecopy/sparsecopy/examples/internal/syncfile"
)

// hideSystemFlags hides flags that such a command has no use for: no image of a file is chosen by
// system.
func hideSystemFlags(flags *pflag.FlagSet) {
	for _, name := range systemFlags {
		_ = flags.MarkHidden(name)
	}
}

// readSyncFile reads and checks a file, or makes it of that of another tool. Errors are explained
// by its keys from now on. What is wrong with it is a misuse.
func (e *environment) readSyncFile(name string, from *fromFlags) (*syncfile.File, error) {
	if !e.byFile { // a server reads files while errors are explained
		e.byFile = true
	}
	content, err := e.readAll(name)
	if err != nil {
		return nil, &misuse{err}
	}
	file, err := from.file(name, content)
	if err != nil {
		return nil, err
	}
	if err := checkRegistries(name, file); err != nil {
		return nil, &misuse{err}
	}
	return file, nil
}

func (e *environment) readAll(name string) ([]byte, error) {
	r := e.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	return io.ReadAll(io.LimitReader(r, syncfile.MaxSize+1))
}
