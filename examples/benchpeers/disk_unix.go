//go:build unix

package main

import "golang.org/x/sys/unix"

// settle waits until everything that was written is on the disk, so that nobody has to wait for
// what others wrote.
func settle() { unix.Sync() }
