// Package clock is the one place that asks what time it is. Whoever waits, or remembers how old
// something is, has a Clock, so that tests let a week pass in a second. Package clocktest has the
// clock of tests.
//
// What moves bytes keeps to the time of the machine: a connection that stalls does so whatever a
// Clock says.
package clock

import (
	"context"
	"time"
)

// A Clock says what time it is, and when some of it has passed. Its methods are safe for concurrent
// use.
type Clock interface {
	// Now returns the time of the clock.
	Now() time.Time
	// NewTimer returns a timer that fires once, when d has passed: at once if d is not positive.
	NewTimer(d time.Duration) Timer
}

// A Timer fires once. Its methods are safe for concurrent use.
type Timer interface {
	// C returns the channel that gets the time when the timer fires. It is never closed.
	C() <-chan time.Time
	// Stop keeps the timer from firing. It reports whether that was still to come.
	Stop() bool
}

// System is the clock of the machine.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time                 { return time.Now() }
func (system) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

type systemTimer struct{ timer *time.Timer }

func (t systemTimer) C() <-chan time.Time { return t.timer.C }
func (t systemTimer) Stop() bool          { return t.timer.Stop() }

// Or returns c, or System if c is nil.
func Or(c Clock) Clock {
	if c == nil {
		return System
	}
	return c
}

// Since returns how much time has passed on c since t.
func Since(c Clock, t time.Time) time.Duration { return c.Now().Sub(t) }

// Sleep returns nil when d has passed on c. If ctx ends first, it returns context.Cause(ctx).
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
