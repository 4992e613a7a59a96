package main

import (
	"os"
	"syscall"
)

// peak is the most resident memory of a process that has ended, in bytes.
func peak(s *os.ProcessState) int64 {
	return int64(s.SysUsage().(*syscall.Rusage).Maxrss) << 10 //nolint:unconvert // on 32 bits, it is an int32
}
