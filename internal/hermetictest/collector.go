package hermetictest

import "runtime/debug"

// relaxedGC is the percentage of debug.SetGCPercent that tests run with. They hold little and make
// a lot, so that with Go's own the collector takes a fifth of the processor. Who measures memory
// goes back to that: see DefaultGC.
const relaxedGC = 400

// DefaultGC makes the collector run as in a program that sets nothing, until the function that it
// returns is called.
func DefaultGC() (relax func()) {
	before := debug.SetGCPercent(100)
	return func() { debug.SetGCPercent(before) }
}
