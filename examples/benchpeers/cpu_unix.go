//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime is what this process and those that it started have used so far, in user mode and in the
// kernel.
func cpuTime() time.Duration {
	own, children := rusage(syscall.RUSAGE_SELF), rusage(syscall.RUSAGE_CHILDREN)
	return time.Duration(own.Utime.Nano() + own.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano())
}

func rusage(who int) (u syscall.Rusage) {
	_ = syscall.Getrusage(who, &u) // what is not known is 0
	return u
}
