// Command lists makes the repositories in testdata/lists/tools, which hold what real tools write,
// and serves them. Its tests, which need none of the tools, mirror them.
//
//	lists make [TOOL...]   run the tools, all or those named, and write what they leave
//	lists serve            offer the repositories on loopback until interrupted
//
// Each tool is a directory of testdata/lists/make: a go.mod that pins it, make.sh with the commands
// that make repositories, and check.sh, with which the tool judges them, here and in a mirror.
//
//	layout.go      the repositories that there are
//	workshop.go    tools at work: what they find, what they leave
//	selections.go  what of each repository is mirrored
//	mirror.go      how it is mirrored and verified
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// checkout is where the repository is checked out, from the directory examples.
var checkout = ".."

// layoutsDir has a directory for each repository, recipesDir one for each tool, and programsDir the
// programs.
func layoutsDir() string  { return filepath.Join(checkout, "testdata", "lists", "tools") }
func recipesDir() string  { return filepath.Join(checkout, "testdata", "lists", "make") }
func programsDir() string { return filepath.Join(checkout, ".bin", "lists") }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lists:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "make":
		return makeLists(ctx, out, args[1:])
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx, out)
	}
	return errors.New("usage: lists make [TOOL...] | lists serve")
}

// serve serves all repositories until ctx ends.
func serve(ctx context.Context, out io.Writer) error {
	reg := registrytest.New(registrytest.Options{})
	defer reg.Close()
	repos, err := loadAll(reg)
	if err != nil {
		return err
	}
	for _, repo := range repos {
		for _, tag := range reg.Tags(repo) {
			fmt.Fprintf(out, "%s/%s:%s\n", reg.Host(), repo, tag)
		}
	}
	<-ctx.Done()
	return nil
}
