// Command demo shows a mirror at work, with nothing but itself: it starts two registries on loopback, makes an image of several
// platforms, mirrors two of them, and pulls the result with the tools that users have. Everything that it claims is checked; the exit
// status is 0 if and only if all of it held.
//
//	demo.go    the story, from the first step to the last
//	image.go   the image: layers, configs, attestations and the list, as an OCI layout
//	checks.go  what was claimed and whether it held
//	pull.go    what a user sees: upstream's copy, and files out of layers
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
	if err := run(ctx, os.Stdout, registrytest.Options{Strict: true}); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
