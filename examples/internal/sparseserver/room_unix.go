//go:build linux || darwin

package sparseserver

import "golang.org/x/sys/unix"

// freeSpace returns the bytes that a file system has left for those who are not its administrator.
func freeSpace(directory string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(directory, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail * uint64(stat.Bsize)), nil
}

// mayWrite returns an error unless this user may write to a directory.
func mayWrite(directory string) error { return unix.Access(directory, unix.W_OK) }
