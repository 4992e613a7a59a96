//go:build unix

package registrystore

import "golang.org/x/sys/unix"

// ownerOf returns the user and the group to whom a file belongs.
func ownerOf(path string) (uid, gid int, known bool) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}
