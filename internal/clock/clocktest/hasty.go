package clocktest

import (
	"slices"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A Hasty is the machine's clock, on which nobody waits: a timer puts it forward by as much as it
// was to take, and fires. It is for tests of how long something waits, which it remembers. The zero
// value shows the machine's time. It may be used concurrently and must not be copied.
type Hasty struct {
	shifted Shifted
	mu      sync.Mutex
	waits   []time.Duration // guarded by mu
}

// Now implements clock.Clock.
func (h *Hasty) Now() time.Time { return h.shifted.Now() }

// NewTimer implements clock.Clock.
func (h *Hasty) NewTimer(d time.Duration) clock.Timer {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = append(h.waits, d)
	h.shifted.Advance(max(d, 0))
	return clock.System.NewTimer(0)
}

// Waits are the times that timers were to take, in the order in which these were made.
func (h *Hasty) Waits() []time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.waits)
}

// Waited is the sum of Waits.
func (h *Hasty) Waited() (sum time.Duration) {
	for _, d := range h.Waits() {
		sum += d
	}
	return sum
}
