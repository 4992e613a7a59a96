package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
)

// shells are those that mirror completion knows, and how a file for each is called.
var shells = []struct{ name, file string }{
	{"bash", "mirror.bash"}, {"zsh", "_mirror"}, {"fish", "mirror.fish"}, {"powershell", "mirror.ps1"},
}

// contents is what all archives have in them beside the programs.
func (r release) contents(ctx context.Context) ([]file, error) {
	var files []file
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		content, err := os.ReadFile(filepath.Join(r.checkout, name))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: name, mode: 0o644, content: content})
	}
	pages, err := filepath.Glob(filepath.Join(r.checkout, "examples", "mirror", "man", "*.1"))
	if err != nil || len(pages) == 0 {
		return nil, errors.Join(errors.New("no manual pages in examples/mirror/man"), err)
	}
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: path.Join("man/man1", filepath.Base(page)), mode: 0o644, content: content})
	}
	for _, shell := range shells {
		var script bytes.Buffer
		if status := mirrorcmd.Run(ctx, []string{"completion", shell.name}, bytes.NewReader(nil), &script, io.Discard); status != mirrorcmd.StatusDone {
			return nil, fmt.Errorf("mirror completion %s: exit status %d", shell.name, status)
		}
		files = append(files, file{name: path.Join("completions", shell.file), mode: 0o644, content: script.Bytes()})
	}
	return files, nil
}
