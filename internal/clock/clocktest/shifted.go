package clocktest

import (
	"sync/atomic"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// A Shifted is the machine's clock, put forward by Advance, which lets no timer fire: for tests of
// what is remembered, in which requests may be tried again meanwhile. The zero value shows the
// machine's time. It may be used concurrently and must not be copied.
type Shifted struct{ ahead atomic.Int64 }

// Now implements clock.Clock.
func (s *Shifted) Now() time.Time {
	return clock.System.Now().Add(time.Duration(s.ahead.Load()))
}

// NewTimer implements clock.Clock.
func (s *Shifted) NewTimer(d time.Duration) clock.Timer { return clock.System.NewTimer(d) }

// Advance puts the clock forward.
func (s *Shifted) Advance(d time.Duration) { s.ahead.Add(int64(d)) }
