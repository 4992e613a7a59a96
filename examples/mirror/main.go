// Command mirror copies multi-platform images between registries, layouts and directories, and leaves behind lists that the
// destination accepts. See mirror --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(mirrorcmd.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
