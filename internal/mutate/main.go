// Mutate runs gremlins (github.com/go-gremlins/gremlins) over packages whose every condition
// matters, and holds what it finds against a list of the mutants that may survive: survivors.txt,
// beside this file.
//
//	go run ./internal/mutate [-workers n] [package…]
//
// It is run at the root of the module. Packages are directories; none means those of the list
// below. It fails if a mutant survives that is not in the list, if one is in the list that does not
// survive, and if too few mutants are killed or covered.
//
// A mutant is killed if a test of its own package fails. One that does not compile counts for
// nothing. One that runs into the timeout is a survivor, unless the list says that it loops.
package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// gremlins is what runs the tests, pinned.
const gremlins = "github.com/go-gremlins/gremlins/cmd/gremlins@v0.6.0"

// packages are those that are mutated.
var packages = []string{"manifest", "internal/platform", "internal/listtree", "internal/original", "copy/plan"}

// What is demanded of each package, in percent of the mutants that compile, and of those that are
// covered.
const (
	leastCovered = 95
	leastKilled  = 98
)

// timeoutCoefficient is how many times longer than all tests a mutant may take: other programs may
// be running.
const timeoutCoefficient = "40"

//go:embed survivors.txt
var survivors string

func main() {
	if filepath.Base(os.Args[0]) == "go" {
		os.Exit(standIn(os.Args[1:]))
	}
	workers := flag.Int("workers", 1, "how many mutants are tested at the same time")
	flag.Parse()
	if flag.NArg() > 0 {
		packages = flag.Args()
	}
	if err := run(packages, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(packages []string, workers int) error {
	listed, err := parseList(survivors)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	env, err := environment(dir)
	if err != nil {
		return err
	}
	var failed []string
	for _, pkg := range packages {
		pkg = filepath.ToSlash(filepath.Clean(pkg))
		mutants, err := unleash(dir, env, pkg, workers)
		if err != nil {
			return fmt.Errorf("%s: %w", pkg, err)
		}
		score, complaints := judge(pkg, mutants, listed)
		fmt.Printf("%s: %s\n", pkg, score)
		failed = append(failed, complaints...)
	}
	if len(failed) > 0 {
		return fmt.Errorf("\n%s", strings.Join(failed, "\n"))
	}
	return nil
}

// environment installs gremlins, and this program as the go command that it runs (see standIn), in
// dir.
func environment(dir string) ([]string, error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return nil, err
	}
	if err := os.Symlink(self, filepath.Join(bin, "go")); err != nil {
		return nil, err
	}
	install := exec.Command(goCommand, "install", gremlins)
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	install.Stderr = os.Stderr
	if err := install.Run(); err != nil {
		return nil, fmt.Errorf("install %s: %w", gremlins, err)
	}
	return append(os.Environ(),
		"PATH="+bin+string(filepath.ListSeparator)+os.Getenv("PATH"), realGo+"="+goCommand,
		"GOFLAGS="+os.Getenv("GOFLAGS")+" -vet=off -count=1 -ldflags=-w"), nil // linking takes most of the time
}

// unleash runs gremlins over one package.
func unleash(dir string, env []string, pkg string, workers int) ([]mutant, error) {
	out := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".json")
	const survivorsOnly = "lt" // those that lived, and those that ran into the timeout
	cmd := exec.Command(filepath.Join(dir, "gremlins"), "unleash", "--output-statuses", survivorsOnly, "--output", out,
		"--workers", strconv.Itoa(workers), "--timeout-coefficient", timeoutCoefficient, "./"+pkg)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	var result struct {
		Files []struct {
			Name      string   `json:"file_name"`
			Mutations []mutant `json:"mutations"`
		} `json:"files"`
	}
	if err := json.Unmarshal(b, &result); err != nil {
		return nil, err
	}
	var mutants []mutant
	for _, f := range result.Files {
		path := pkg + "/" + f.Name
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		lines := strings.Split(string(source), "\n")
		for _, m := range f.Mutations {
			line := lines[m.Line-1]
			m.where = path
			m.text = strings.TrimSpace(line[:m.Column-1] + mark + line[m.Column-1:])
			mutants = append(mutants, m)
		}
	}
	slices.SortFunc(mutants, compare)
	return mutants, nil
}
