package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The programs that contestants are, or need.
const (
	mirrorProgram  = "mirror"
	craneProgram   = "crane"
	earlierProgram = "mirror-earlier" // mirror as it was at the revision of the flag -earlier
	starterProgram = "starter"
)

// packages are those of the programs that are built of what is checked out.
var packages = map[string]string{
	mirrorProgram:  "github.com/sparsecopy/sparsecopy/examples/mirror",
	craneProgram:   "github.com/google/go-containerregistry/cmd/crane",
	starterProgram: "github.com/sparsecopy/sparsecopy/examples/benchpeers/starter",
}

// A workshop has programs, which it builds when they are needed, each once.
type workshop struct {
	dir     string // where they are; those that are there already are not built
	earlier string // a revision of this repository
	failed  map[string]error
}

// newWorkshop returns one whose programs are in an existing directory.
func newWorkshop(dir, earlier string) *workshop {
	return &workshop{dir: dir, earlier: earlier, failed: map[string]error{}}
}

// program returns the path of a program; the same error each time if it cannot be had.
func (w *workshop) program(ctx context.Context, name string) (string, error) {
	path := filepath.Join(w.dir, name)
	if name == earlierProgram {
		path += "-" + strings.ReplaceAll(w.earlier, "/", "-")
	}
	if err := w.failed[name]; err != nil {
		return "", err
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	build := w.build
	if name == earlierProgram {
		build = w.buildEarlier
	}
	if err := build(ctx, name, path); err != nil {
		w.failed[name] = fmt.Errorf("building %s: %w", name, err)
	}
	return path, w.failed[name]
}

// build builds as releases are built: without cgo.
func (w *workshop) build(ctx context.Context, name, path string) error {
	return said(withoutCgo(exec.CommandContext(ctx, "go", "build", "-o", path, packages[name])))
}

// buildEarlier builds of this repository's own history, in a clone that shares its objects.
func (w *workshop) buildEarlier(ctx context.Context, _, path string) error {
	root, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("no history of this repository: git rev-parse --show-toplevel: %w", err)
	}
	clone, err := os.MkdirTemp("", "benchpeers-earlier")
	if err != nil {
		return err
	}
	defer os.RemoveAll(clone)
	for _, args := range [][]string{
		{"clone", "--quiet", "--shared", "--no-checkout", string(bytes.TrimSpace(root)), clone},
		{"-C", clone, "checkout", "--quiet", "--detach", w.earlier},
	} {
		if err := said(exec.CommandContext(ctx, "git", args...)); err != nil {
			return fmt.Errorf("no history of this repository up to %s: %w", w.earlier, err)
		}
	}
	return said(withoutCgo(exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(clone, "examples"), "-o", path, "./mirror")))
}

func withoutCgo(command *exec.Cmd) *exec.Cmd {
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	return command
}

// said runs a command, and returns what it has said if it fails.
func said(command *exec.Cmd) error {
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(command.Path), err, bytes.TrimSpace(out))
	}
	return nil
}
