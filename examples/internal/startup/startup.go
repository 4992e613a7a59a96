// Package startup lets short runs of a program end before their first garbage collection. To import
// it is all there is to do.
//
// What packages prepare before main comes close to the least heap that Go collects, and the first
// collection takes up to a fifth of what a command costs that has nothing to do. Packages are
// initialised in the order of their import paths as far as their imports allow (the Go
// specification, "Program initialization"), and this one imports next to nothing: it is ready
// before the heap is so large.
package startup

import (
	"os"
	"runtime"
	"runtime/debug"
)

// first is how many percent of the usual heap there may be at the first collection: 16 MiB, of
// which Go uses some 12 before it begins.
const first = 400

func init() {
	if os.Getenv("GOGC") == "" { // otherwise somebody has decided
		postpone(first)
	}
}

// postpone sets the percentage until the first collection has ended. Then it is what it was before,
// and restored is closed.
func postpone(percent int) (restored <-chan struct{}) {
	usual := debug.SetGCPercent(percent)
	done := make(chan struct{})
	runtime.AddCleanup(new([64]byte), func(usual int) {
		debug.SetGCPercent(usual)
		close(done)
	}, usual)
	return done
}
