package copytest

import (
	"errors"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// keepPort takes a port at which nobody listens, and returns its address. The system gives it to
// nobody else, be it for connections, until giveBack is called; who names it can listen there.
func keepPort() (addr string, giveBack func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fd, loopback))
	var bound unix.Sockaddr
	if err == nil {
		bound, err = unix.Getsockname(fd)
	}
	if err != nil {
		return "", nil, errors.Join(err, unix.Close(fd))
	}
	port := bound.(*unix.SockaddrInet4).Port
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), func() { _ = unix.Close(fd) }, nil
}
