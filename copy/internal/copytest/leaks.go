package copytest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// Run runs the tests of a package, and fails if they have left goroutines or file descriptors
// behind. It is the inner part of a TestMain.
func Run(m *testing.M) int {
	goroutines, files := theirGoroutines(), OpenFiles()
	status := m.Run()
	if status == 0 {
		if left := leaked(goroutines, files); left != "" {
			fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests of this package:\n%s\n", left)
			status = 1
		}
	}
	return status
}

// leakPatience is how long goroutines have to end: those of closed connections take a moment.
const leakPatience = 10 * time.Second

// leaked returns what there is now and was not before, "" if nothing.
func leaked(goroutines map[string]int, files map[string]bool) string {
	http.DefaultClient.CloseIdleConnections() // of tests that look at registries themselves
	var left string
	for deadline := clock.System.Now().Add(leakPatience); clock.System.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var b strings.Builder
		for stack, n := range theirGoroutines() {
			if n > goroutines[stack] {
				fmt.Fprintf(&b, "%d goroutines:\n%s\n\n", n-goroutines[stack], stack)
			}
		}
		for name := range OpenFiles() {
			if !files[name] {
				fmt.Fprintf(&b, "file descriptor: %s\n", name)
			}
		}
		if left = b.String(); left == "" {
			return ""
		}
	}
	return left
}

var (
	stackAddresses = regexp.MustCompile(`(?m)\(0x[0-9a-f?, {}.x]*\)$|\(\.\.\.\)$|\(\{[^()]*\)$| \+0x[0-9a-f]+$| in goroutine \d+`)
	stackHeader    = regexp.MustCompile(`^goroutine \d+ \[[^\]]*\]:\n`)
)

// theirGoroutines returns the stacks of all goroutines but the one that asks, without addresses,
// and how often each occurs.
func theirGoroutines() map[string]int {
	buf := make([]byte, 64<<20)
	buf = buf[:runtime.Stack(buf, true)]
	stacks := map[string]int{}
	for i, stack := range bytes.Split(buf, []byte("\n\n")) {
		if i == 0 {
			continue
		}
		text := stackAddresses.ReplaceAllString(stackHeader.ReplaceAllString(string(stack), ""), "")
		if strings.Contains(text, "os/signal.loop") { // the runtime's own: it never ends
			continue
		}
		stacks[text]++
	}
	return stacks
}

// OpenFiles returns what the file descriptors of this process refer to; nothing where the system
// does not tell.
func OpenFiles() map[string]bool {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	open := map[string]bool{}
	for _, entry := range entries {
		if name, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && !strings.HasPrefix(name, "anon_inode:") {
			open[entry.Name()+" → "+name] = true
		}
	}
	return open
}
