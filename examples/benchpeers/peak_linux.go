package main

import "syscall"

// peakOfChildren is the most resident memory, in bytes, of a process that this one has started.
func peakOfChildren() int64 { return int64(rusage(syscall.RUSAGE_CHILDREN).Maxrss) << 10 } //nolint:unconvert // on 32 bits, it is an int32
