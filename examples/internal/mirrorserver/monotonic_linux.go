package mirrorserver

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the time since the machine was started, as systemd counts it.
func monotonic() (time.Duration, bool) {
	var now unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return time.Duration(now.Nano()), err == nil
}
