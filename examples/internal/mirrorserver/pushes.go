package mirrorserver

import (
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
)

var _ notify.Queue = (*Engine)(nil)

// Enqueue implements notify.Queue: what was pushed is copied before all that is due by schedule.
func (e *Engine) Enqueue(tag reference.NamedTagged) notify.Verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.plan == nil {
		return notify.Unwanted
	}
	verdict := notify.Unwanted
	for _, c := range e.plan.Pushed(tag) {
		waits := e.copies.Waits(c.Destination)
		switch {
		case !e.copies.Add(c.Destination, c, true):
			return notify.Full
		case !waits:
			verdict = notify.Queued
		case verdict == notify.Unwanted:
			verdict = notify.Waiting
		}
	}
	if verdict == notify.Queued {
		e.awake()
	}
	return verdict
}

// Rescan implements notify.Queue: all elements are due at once, or a minute after they were so
// last.
func (e *Engine) Rescan() {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.options.Clock.Now()
	switch {
	case e.rescan.After(now): // is still to come
	case now.Sub(e.rescan) < soon:
		e.rescan = e.rescan.Add(soon)
	default:
		e.rescan = now
	}
	for key := range e.elements {
		e.notLater(key, e.rescan)
	}
	e.awake()
}
