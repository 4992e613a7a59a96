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
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrycmd"
)

// A shell is one that there are completions for.
type shell struct {
	name  string
	file  string // that has them, with PROGRAM for the program
	write func(*cobra.Command, io.Writer) error
}

// of is how the file for a program is called.
func (s shell) of(program string) string { return strings.Replace(s.file, "PROGRAM", program, 1) }

var shells = []shell{
	{"bash", "PROGRAM.bash", func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) }},
	{"zsh", "_PROGRAM", (*cobra.Command).GenZshCompletion},
	{"fish", "PROGRAM.fish", func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) }},
	{"powershell", "PROGRAM.ps1", (*cobra.Command).GenPowerShellCompletionWithDesc},
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
		files = append(files, file{name: path.Join("completions", shell.of("mirror")), mode: 0o644, content: script.Bytes()})
	}
	registry, err := registryContents(registrycmd.Command())
	return append(files, registry...), err
}

// registryContents are the manual pages and completions of sparse-registry, which has neither in
// the checkout.
func registryContents(root *cobra.Command) ([]file, error) {
	dir, err := os.MkdirTemp("", "man-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root.DisableAutoGenTag = true
	root.Long = strings.ReplaceAll(root.Long, "\n  ", "\n    ") // a table, which Markdown keeps as it is
	never := time.Unix(0, 0).UTC()
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "sparsecopy", Manual: root.Name(), Date: &never}, dir); err != nil {
		return nil, err
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, page := range pages {
		content, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: path.Join("man/man1", page.Name()), mode: 0o644, content: content})
	}
	for _, shell := range shells {
		var script bytes.Buffer
		if err := shell.write(root, &script); err != nil {
			return nil, err
		}
		files = append(files, file{name: path.Join("completions", shell.of(root.Name())), mode: 0o644, content: script.Bytes()})
	}
	return files, nil
}
