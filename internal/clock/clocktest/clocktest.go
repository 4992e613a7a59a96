// Package clocktest has clocks that tests move: a Fake stands still until then, and a Shifted goes
// on as the machine's does.
package clocktest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/internal/clock"
)

// Start is the time of a Fake that was made with no other: a Monday.
var Start = time.Date(2026, time.March, 2, 8, 0, 0, 0, time.UTC)

// A Fake is a clock.Clock that only Advance moves. It may be used concurrently and must not be
// copied.
type Fake struct {
	mu     sync.Mutex
	now    time.Time     // guarded by mu
	timers []*timer      // that have not fired, by when they do; guarded by mu
	asked  chan struct{} // closed, and replaced, when a timer is added; guarded by mu
}

// New returns a Fake that stands at start, or at Start if that is zero.
func New(start time.Time) *Fake {
	if start.IsZero() {
		start = Start
	}
	return &Fake{now: start, asked: make(chan struct{})}
}

// Now implements clock.Clock.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// NewTimer implements clock.Clock.
func (f *Fake) NewTimer(d time.Duration) clock.Timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := &timer{clock: f, due: f.now.Add(d), fired: make(chan time.Time, 1)}
	if d <= 0 {
		t.fired <- f.now
		return t
	}
	at, _ := slices.BinarySearchFunc(f.timers, t, func(a, b *timer) int {
		if a.due.After(b.due) {
			return 1
		}
		return -1 // those that are due at the same time fire in the order in which they were made
	})
	f.timers = slices.Insert(f.timers, at, t)
	close(f.asked)
	f.asked = make(chan struct{})
	return t
}

// Advance lets d pass. Timers fire in the order in which they are due, each at its own time; so do
// those that are made meanwhile, as far as their makers were quick enough.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	end := f.now.Add(d)
	for len(f.timers) > 0 && !f.timers[0].due.After(end) {
		next := f.timers[0]
		f.timers = f.timers[1:]
		f.now = next.due
		next.fired <- f.now
	}
	f.now = end
}

// Sleepers returns how many timers are to fire.
func (f *Fake) Sleepers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers)
}

// Next returns when the next timer fires. ok reports whether there is one.
func (f *Fake) Next() (due time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.timers) == 0 {
		return time.Time{}, false
	}
	return f.timers[0].due, true
}

// WaitForSleepers returns nil when at least n timers are to fire: those who wait for them sleep, or
// are about to. If ctx ends first, it returns context.Cause(ctx).
func (f *Fake) WaitForSleepers(ctx context.Context, n int) error {
	for {
		f.mu.Lock()
		sleepers, asked := len(f.timers), f.asked
		f.mu.Unlock()
		if sleepers >= n {
			return nil
		}
		select {
		case <-asked:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// remove takes t out of what is to fire. It reports whether it was in there.
func (f *Fake) remove(t *timer) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.Index(f.timers, t)
	if at >= 0 {
		f.timers = slices.Delete(f.timers, at, at+1)
	}
	return at >= 0
}

type timer struct {
	clock *Fake
	due   time.Time
	fired chan time.Time // has room for the one time
}

func (t *timer) C() <-chan time.Time { return t.fired }
func (t *timer) Stop() bool          { return t.clock.remove(t) }
