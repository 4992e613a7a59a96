// Command starter starts a program several times, one after the other, and prints what one start
// took:
//
//	starter 20 mirror --help
//
// The most memory that Linux knows of a process is at least that of whoever has started it, until
// then. So this program is small, and does nothing else.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

func main() {
	u, err := start(os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(u)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starter:", err)
		os.Exit(1)
	}
}

// A usage is what one start took: the mean of all, and the most memory of any.
type usage struct {
	Wall, CPU time.Duration
	Peak      int64 // bytes of resident memory; 0 if that is not known
}

func start(args []string) (u usage, err error) {
	if len(args) < 2 {
		return u, errors.New("usage: starter NUMBER PROGRAM [ARGUMENT]...")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return u, fmt.Errorf("%q is no number of starts", args[0])
	}
	for range n {
		begun := clock.System.Now()
		c := exec.Command(args[1], args[2:]...)
		if out, err := c.CombinedOutput(); err != nil {
			return u, fmt.Errorf("%s: %w: %s", args[1], err, bytes.TrimSpace(out))
		}
		u.Wall += clock.Since(clock.System, begun)
		u.CPU += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		u.Peak = max(u.Peak, peak(c.ProcessState))
	}
	u.Wall, u.CPU = u.Wall/time.Duration(n), u.CPU/time.Duration(n)
	return u, nil
}
