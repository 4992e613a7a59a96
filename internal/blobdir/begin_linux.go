package blobdir

import (
	"os"

	"golang.org/x/sys/unix"
)

// BeginSync asks the system to begin to put size bytes of f, from the offset on, on the disk, and
// does not wait for them. Whether they get there is what Fsync says.
func BeginSync(f *os.File, offset, size int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return // f is closed
	}
	_ = conn.Control(func(fd uintptr) {
		_ = unix.SyncFileRange(int(fd), offset, size, unix.SYNC_FILE_RANGE_WRITE) // which file systems may not have
	})
}
