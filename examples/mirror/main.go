// Command mirror copies multi-platform images between registries, layouts and directories, and
// leaves behind lists that the destination accepts. See mirror --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.podman.io/storage/pkg/reexec"

	"github.com/sparsecopy/sparsecopy/examples/internal/mirrorcmd"
	_ "github.com/sparsecopy/sparsecopy/examples/internal/startup"
)

// usual is how long the program has to stop by itself after a signal, unless its command needs
// longer. What waits for a file, say on a server that is gone, may not. Tests change it.
var usual = 1500 * time.Millisecond

func main() {
	if reexec.Init() { // containers-storage: extracts layers in a process of its own, this program once more
		return
	}
	trustAuthorities()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, grace := mirrorcmd.WithGrace(ctx, usual)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.Sleep(grace.Duration())
		fmt.Fprintf(os.Stderr, "mirror: stopped: %v; something did not stop by itself\n", context.Cause(ctx))
		os.Exit(mirrorcmd.StatusFailed)
	})
	os.Exit(mirrorcmd.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
