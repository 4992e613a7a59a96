// Command listpeers copies two platforms of each kind of list that there is with each tool that
// can do that, from and to registries on loopback, and writes into docs/lists.md what became of
// them. "make lists-peers" installs the tools, in pinned versions, and runs it.
//
// # Map
//
//	kinds.go    the kinds of lists, an example of each, and what a mirror of it has to have
//	layout.go   examples that are what a tool wrote
//	tools.go    the tools, and how they are asked
//	run.go      the registries between which they copy
//	outcome.go  what they leave
//	page.go     how docs/lists.md says it
//
// It runs in its own directory. Its test runs the library of this module alone, and holds what the
// page says of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

func main() {
	bin := flag.String("tools", "", "directory with the programs crane, regctl, regsync, oras and buildx")
	flag.Parse()
	if err := run(context.Background(), *bin); err != nil {
		fmt.Fprintln(os.Stderr, "listpeers:", err)
		os.Exit(1)
	}
}

// run runs all tools on all kinds, and writes the results into the blocks of the page.
func run(ctx context.Context, bin string) (err error) {
	home, err := os.MkdirTemp("", "listpeers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	b := newBench(bin, home)
	defer b.close()

	versions, err := versions(bin)
	if err != nil {
		return err
	}
	results := map[string][]result{}
	blocks := map[string]string{"tools": versions}
	for _, k := range kinds {
		e := b.push(k)
		for _, t := range tools {
			results[k.name] = append(results[k.name], b.both(ctx, k, e, t))
		}
		blocks[k.name] = k.table(results[k.name])
	}
	blocks["overview"] = overview(results)

	text, err := os.ReadFile(listsPage)
	if err != nil {
		return err
	}
	p := page(text)
	for name, block := range blocks {
		if p, err = p.with(name, block); err != nil {
			return err
		}
	}
	return os.WriteFile(listsPage, []byte(p), 0o644)
}

// both lets a tool copy two platforms, and one.
func (b *bench) both(ctx context.Context, k kind, e example, t tool) result {
	r := result{tool: t, two: b.try(ctx, k, e, slug(t.name)+"/two", t.two.do)}
	if t.one.do != nil {
		r.one = b.try(ctx, k, e, slug(t.name)+"/one", t.one.do)
	}
	return r
}

// slug is a name as a part of a repository's.
func slug(name string) string { return strings.ReplaceAll(name, "/", "-") }

// versions is the block that says what was run, and when.
func versions(bin string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s.\n\n| tool | version | two platforms | one |\n|---|---|---|---|\n", clock.System.Now().UTC().Format(time.DateOnly))
	for _, t := range tools {
		version, err := t.version(bin)
		if err != nil {
			return "", err
		}
		if version = strings.TrimSpace(t.module + " " + version); t.name == ours.name {
			version = "this one"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.name, version, code(t.two.command), code(t.one.command))
	}
	return b.String(), nil
}

func code(s string) string {
	if s == "" {
		return "–"
	}
	return "`" + s + "`"
}
