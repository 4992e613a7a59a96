// Command interop lets cosign sign what mirror copies, and judge what mirror signs.
//
//	interop            cosign signs lists; mirror copies two platforms of eight to registries that are
//	                   strict about lists, and says so with a key of its own; the source is stopped;
//	                   mirror, cosign and containers/image judge the mirrors, and somebody tampers
//	interop fixtures   let cosign sign the lists of testdata/signed anew, for the library's tests
//
// Both programs are run as they are built, from the directory .bin/interop of the checkout. Cosign
// has a module of its own, in the directory cosign: what it requires is nobody else's.
//
//	programs.go     the programs, and how they are run
//	sign.go         what the publisher does with cosign
//	fixtures.go     testdata/signed
//	registries.go   registries of the field that are strict
//	check.go        what is mirrored
//	judge.go        who judges it, and what they say
//	tamper.go       a mirror in the hands of somebody who can write to it
//	tamperings.go   what is done to it, and what mirror verify says of each
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
)

// checkout is where the repository is checked out, from the directory examples.
const checkout = ".."

// signedDir has what cosign signed for the library's tests.
func signedDir() string { return filepath.Join(checkout, "testdata", "signed") }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	switch {
	case len(args) == 0:
		return check(ctx, out)
	case len(args) == 1 && args[0] == "fixtures":
		return makeFixtures(ctx, out)
	}
	return errors.New("usage: interop [fixtures]")
}
