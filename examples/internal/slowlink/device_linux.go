package slowlink

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// newNamespace makes a namespace with a device that has an address, and whose whole network is at
// the other end.
func newNamespace(address string) (*Namespace, error) {
	n := &Namespace{Address: address, work: make(chan func())}
	made := make(chan error)
	go func() {
		// For good: the thread is in the namespace, and ends with this function.
		runtime.LockOSThread()
		var err error
		n.device, err = enter(address)
		made <- err
		if err != nil {
			return
		}
		for f := range n.work {
			f()
		}
	}()
	return n, <-made
}

// enter puts the calling thread into a new namespace, and returns its device.
func enter(address string) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("a network namespace: %w", err)
	}
	device, err := openDevice()
	if err != nil {
		return nil, err
	}
	if err := setUp(address); err != nil {
		device.Close()
		return nil, err
	}
	return device, nil
}

// deviceName is what it is called in its namespace.
const deviceName = "slowlink"

// openDevice makes a TUN device of packets without a header of its own.
func openDevice() (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	request, err := unix.NewIfreq(deviceName)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("a TUN device: %w", err)
	}
	return os.NewFile(uintptr(fd), path), nil // not before: the poller needs the device
}

// CongestionControl is how the kernel's TCP takes the loss of packets, "cubic" or "bbr" for
// instance; "" if that is not known. It is the machine's choice.
func CongestionControl() string {
	name, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return strings.TrimSpace(string(name))
}

// setUp gives the device its address, and sets it up, and loopback.
func setUp(address string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	for _, step := range []struct {
		device  string
		request uint
		set     func(*unix.Ifreq) error
	}{
		{deviceName, unix.SIOCSIFADDR, inet4(address)},
		{deviceName, unix.SIOCSIFNETMASK, inet4("255.255.255.0")},
		{deviceName, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{deviceName, unix.SIOCSIFFLAGS, up},
		{"lo", unix.SIOCSIFFLAGS, up},
	} {
		request, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(socket, step.request, request)
		}
		if err != nil {
			return fmt.Errorf("setting up %s in a network namespace: %w", step.device, err)
		}
	}
	return nil
}

func inet4(address string) func(*unix.Ifreq) error {
	return func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(address).To4()) }
}

func up(r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return nil
}
