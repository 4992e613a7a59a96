package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// realGo names the environment variable with the path of the go command that standIn stands in for.
const realGo = "MUTATE_GO"

// standIn is the go command as gremlins sees it. It differs from the real one in two things.
// Coverage profiles are complete (see complete). And a test that does not compile ends with 2, by
// which gremlins knows mutants that are none.
func standIn(args []string) int {
	cmd := exec.Command(os.Getenv(realGo), args...)
	var output bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, &output, &output
	err := cmd.Run()
	_, _ = os.Stdout.Write(output.Bytes())
	switch {
	case bytes.Contains(output.Bytes(), []byte("[build failed]")):
		return 2
	case cmd.ProcessState == nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if i := slices.Index(args, "-coverprofile"); i >= 0 && err == nil {
		if err := complete(args[i+1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return cmd.ProcessState.ExitCode()
}

// complete adds to a coverage profile what Go's never have: the conditions of cases, which are as
// good as reached where their switch is, and what is declared outside functions. Otherwise gremlins
// would leave them alone. The files must be in the module in the working directory.
func complete(profile string) error {
	b, err := os.ReadFile(profile)
	if err != nil {
		return err
	}
	covered := map[string][]block{} // by file
	for line := range strings.Lines(string(b)) {
		if file, bl, ok := parseBlock(strings.TrimSpace(line)); ok {
			covered[file] = append(covered[file], bl)
		}
	}
	module, err := modulePath("go.mod")
	if err != nil {
		return err
	}
	var more strings.Builder
	for file, blocks := range covered {
		path := filepath.FromSlash(strings.TrimPrefix(file, module+"/"))
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, n := range missing(f, func(p token.Pos) bool {
			at := files.Position(p)
			return slices.ContainsFunc(blocks, func(bl block) bool { return bl.has(at.Line, at.Column) })
		}) {
			from, to := files.Position(n[0]), files.Position(n[1])
			fmt.Fprintf(&more, "%s:%d.%d,%d.%d 1 1\n", file, from.Line, from.Column, to.Line, to.Column)
		}
	}
	return os.WriteFile(profile, append(b, more.String()...), 0o600)
}

// missing returns the ranges of f that a profile lacks. reached reports whether the code at a
// position was run.
func missing(f *ast.File, reached func(token.Pos) bool) [][2]token.Pos {
	var ranges [][2]token.Pos
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok {
			ranges = append(ranges, [2]token.Pos{g.Pos(), g.End()})
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SwitchStmt)
		if !ok || !reached(s.Pos()) {
			return true
		}
		for _, stmt := range s.Body.List {
			if c := stmt.(*ast.CaseClause); len(c.List) > 0 {
				ranges = append(ranges, [2]token.Pos{c.List[0].Pos(), c.List[len(c.List)-1].End()})
			}
		}
		return true
	})
	return ranges
}

// A block is a range of source that was run.
type block struct{ fromLine, fromColumn, toLine, toColumn int }

func (b block) has(line, column int) bool {
	return (line > b.fromLine || line == b.fromLine && column >= b.fromColumn) &&
		(line < b.toLine || line == b.toLine && column < b.toColumn)
}

// parseBlock reads a line of a profile, "file:line.column,line.column statements count". It returns
// false for others, and for code that was not run.
func parseBlock(line string) (file string, b block, ok bool) {
	colon := strings.LastIndexByte(line, ':')
	fields := strings.FieldsFunc(line[colon+1:], func(r rune) bool { return r == '.' || r == ',' || r == ' ' })
	if colon < 0 || len(fields) != 6 || fields[5] == "0" {
		return "", block{}, false
	}
	var n [4]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(fields[i]); err != nil {
			return "", block{}, false
		}
	}
	return line[:colon], block{n[0], n[1], n[2], n[3]}, true
}

// modulePath returns the path of the module that a go.mod declares.
func modulePath(goMod string) (string, error) {
	b, err := os.ReadFile(goMod)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s names no module", goMod)
}
