//go:build !linux

package mirrorserver

import "time"

// monotonic is not asked for where there is no systemd.
func monotonic() (time.Duration, bool) { return 0, false }
