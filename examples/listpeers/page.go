package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

// The repository, and the page, from the directory of this program.
var (
	root      = filepath.Join("..", "..")
	listsPage = filepath.Join(root, "docs", "lists.md")
)

// A page is a text in Markdown with blocks that a program writes: each begins with the line
// <!-- run: NAME -->, and ends with the line <!-- end -->.
type page string

const blockEnd = "<!-- end -->\n"

// block returns what is between the marks of a block.
func (p page) block(name string) (string, error) {
	_, rest, ok := strings.Cut(string(p), blockBegin(name))
	text, _, end := strings.Cut(rest, blockEnd)
	if !ok || !end {
		return "", fmt.Errorf("the page has no block %q", name)
	}
	return text, nil
}

// with returns the page with another text in a block.
func (p page) with(name, text string) (page, error) {
	old, err := p.block(name)
	if err != nil {
		return p, err
	}
	return page(strings.Replace(string(p), blockBegin(name)+old+blockEnd, blockBegin(name)+text+blockEnd, 1)), nil
}

func blockBegin(name string) string { return "<!-- run: " + name + " -->\n" }

// A result is what one tool did with one kind of list.
type result struct {
	tool     tool
	two, one outcome // one has no tree if the tool copies no single platform
}

// table is the block of a kind.
func (k kind) table(results []result) string {
	var b strings.Builder
	b.WriteString("| tool | what is there | lacks | the list | as linux/amd64 |\n|---|---|---|---|---|\n")
	for _, r := range results {
		b.WriteString(k.row(r))
	}
	return b.String()
}

// row is the row of one tool in the block of a kind.
func (k kind) row(r result) string {
	there := r.two.there()
	if r.two.err != nil {
		there = failure(r.two.err)
	}
	one := "–"
	switch {
	case r.tool.one.do == nil:
	case r.one.err != nil:
		one = "fails"
	default:
		one = r.one.tree
	}
	return "| " + strings.Join([]string{
		r.tool.name, there, orDash(strings.Join(r.two.lacks(k.want), ", ")), orDash(r.two.list), one,
	}, " | ") + " |\n"
}

// failure is what a cell says of an error: the beginning.
func failure(err error) string {
	text := []rune(strings.ReplaceAll(err.Error(), "|", "/"))
	if len(text) > 120 {
		text = append(text[:120], '…')
	}
	return "fails: " + string(text)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// verdict is what the overview says of a result.
func (k kind) verdict(r result) string {
	o := r.two
	lacks, beyond := o.lacks(k.want), o.beyond(k.want)
	said := "all"
	switch {
	case k.want == nil && o.err != nil:
		return "fails, and rightly"
	case k.want == nil:
		return "**takes no notice**"
	case o.err != nil:
		said = "fails"
	case o.tree == "[]":
		return "**an empty list**"
	case len(lacks) == len(k.want):
		return "**a list of what is absent**"
	case len(lacks) > 0:
		said = "lacks " + strings.Join(groups(lacks), ", ")
	case len(beyond) > 0:
		said = "all, and " + strings.Join(beyond, ", ")
	case k.want[0] == imagetest.Top && o.tree != imagetest.Top:
		said = "in a list of its own"
	case slices.ContainsFunc(o.beside, func(name string) bool { return strings.HasPrefix(name, "att-") }):
		said = "all, but not in the list"
	case strings.Contains(o.list, "entries lose `annotations`"), strings.Contains(o.list, "entries lose `x-"):
		said = "all, stripped of marks"
	}
	if what, _, ok := strings.Cut(r.one.tree, "-"); ok && (what == "soci" || what == "nydus") {
		said += "; takes " + r.one.tree + " for an image"
	}
	return said
}

// groups are the names without the platforms, each once.
func groups(names []string) (groups []string) {
	for _, name := range names {
		group, _, _ := strings.Cut(name, "-")
		if group = nouns[group]; group == "" {
			group = name
		}
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups
}

// nouns are the groups of names, by what is before the first hyphen.
var nouns = map[string]string{
	"att": "attestations", "soci": "SOCI indexes", "nydus": "Nydus images", "zstd": "zstd twins",
	"bundle": "sigstore bundles", "notation": "notation's signatures", ".sig": "`.sig` tags", ".att": "`.att` tags", ".sbom": "`.sbom` tags",
}

// overview is the block with a row for each kind, and a column for each tool.
func overview(results map[string][]result) string {
	var b strings.Builder
	b.WriteString("| list |")
	for _, t := range tools {
		b.WriteString(" " + t.name + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(tools)+1) + "\n")
	for _, k := range kinds {
		b.WriteString("| [" + k.name + "](#" + k.name + ") |")
		for _, r := range results[k.name] {
			b.WriteString(" " + k.verdict(r) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}
