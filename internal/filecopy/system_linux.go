package filecopy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// clone makes the blocks of from those of to as well. Few file systems can (Btrfs, XFS, bcachefs),
// and none with a file of another one.
func clone(to, from *os.File) error {
	return unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
}

// copyRange copies at most n bytes, and returns how many. A file system of the network may have its
// server do that.
func copyRange(to *os.File, toOffset int64, from *os.File, fromOffset int64, n int) (int, error) {
	for {
		copied, err := unix.CopyFileRange(int(from.Fd()), &fromOffset, int(to.Fd()), &toOffset, n, 0)
		if !errors.Is(err, unix.EINTR) {
			return copied, err
		}
	}
}
