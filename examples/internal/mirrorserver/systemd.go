package mirrorserver

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// A Supervisor is told how the server is: systemd, or whoever else speaks its protocol
// (sd_notify(3)). Nothing that goes wrong with that is an error: the mirror does not depend on it.
type Supervisor struct {
	socket   string // "" for nobody
	watchdog time.Duration
}

// NewSupervisor returns the one that the environment names.
func NewSupervisor(getenv func(string) string) Supervisor {
	s := Supervisor{socket: getenv("NOTIFY_SOCKET")}
	pid := getenv("WATCHDOG_PID")
	if microseconds, err := strconv.ParseUint(getenv("WATCHDOG_USEC"), 10, 42); err == nil && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		s.watchdog = time.Duration(microseconds) * time.Microsecond
	}
	return s
}

// Watchdog is how often the Supervisor wants to be told that the server is Alive, 0 for never.
func (s Supervisor) Watchdog() time.Duration { return s.watchdog / 2 }

// Ready says that the server does what it is there for.
func (s Supervisor) Ready(status string) { s.tell("READY=1\nSTATUS=" + status) }

// Reloading says that the server reads its files again. Ready has to follow.
func (s Supervisor) Reloading() {
	text := "RELOADING=1"
	if now, ok := monotonic(); ok {
		text += fmt.Sprintf("\nMONOTONIC_USEC=%d", now.Microseconds())
	}
	s.tell(text)
}

// Stopping says that the server ends, and takes as long as that for it.
func (s Supervisor) Stopping(atMost time.Duration) {
	s.tell(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", atMost.Microseconds()))
}

// Alive says that the server works.
func (s Supervisor) Alive() { s.tell("WATCHDOG=1") }

func (s Supervisor) tell(text string) {
	if s.socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", s.socket)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(text))
}
