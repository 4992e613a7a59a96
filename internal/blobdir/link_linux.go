package blobdir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mayLink reports whether file is what a copy of it would be: this user's own, and open to nobody
// else for more than reading.
func mayLink(file *os.File) bool {
	var info unix.Stat_t
	if unix.Fstat(int(file.Fd()), &info) != nil {
		return false
	}
	const permissions, ownersWrite = 0o7777, 0o200
	return int64(info.Uid) == int64(os.Geteuid()) && info.Mode&permissions|ownersWrite == uint32(blobMode)
}

// link gives the file itself that is open one more name, whatever is at its old one now.
func link(file *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", file.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}
