package registrystore

import (
	"os"
	"os/user"
	"strconv"
)

// ForeignOwner is the user to whom a storage directory belongs, "" unless the process is root's and
// the directory somebody else's. What such a process writes there, a server of that user's cannot
// change, or even read.
func ForeignOwner(storage string) string {
	return foreignOwner(storage, os.Geteuid())
}

func foreignOwner(storage string, effective int) string {
	uid, _, known := ownerOf(storage)
	if effective != 0 || !known || uid == 0 {
		return ""
	}
	id := strconv.Itoa(uid)
	if account, err := user.LookupId(id); err == nil {
		return account.Username
	}
	return "#" + id // as sudo -u has it
}

// giveToOwner gives files to the user to whom a storage directory belongs, as far as the process
// may.
func giveToOwner(storage string, paths ...string) {
	uid, gid, known := ownerOf(storage)
	if !known || os.Geteuid() != 0 {
		return
	}
	for _, path := range paths {
		_ = os.Lchown(path, uid, gid) // whoever cannot open them says so
	}
}
