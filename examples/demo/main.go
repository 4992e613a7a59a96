// Command demo shows a mirror at work, with nothing but itself: it starts two registries on
// loopback, makes an image of several platforms, mirrors two of them, and pulls the result with the
// tools that users have. Everything that it claims is checked; the exit status is 0 if and only if
// all of it held.
//
// With the argument playground it runs a shell, or the command that follows, beside two registries
// to play with.
//
//	demo.go        the story, from the first step to the last
//	image.go       the image: layers, configs, attestations and the list, as an OCI layout
//	checks.go      what was claimed and whether it held
//	attack.go      somebody who changes the mirror, and who notices
//	pull.go        what a user sees: upstream's copy, and files out of layers
//	playground.go  registries to play with
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] != "playground" {
		fmt.Fprintln(os.Stderr, "usage: demo [playground [COMMAND...]]")
		os.Exit(2)
	}
	var err error
	if len(os.Args) > 1 {
		err = playground(ctx, os.Stdout, os.Args[2:])
	} else {
		err = run(ctx, os.Stdout, registrytest.Options{Strict: true})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
