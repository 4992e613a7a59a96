package mirrorserver

import (
	"go.podman.io/image/v5/docker/reference"

	"github.com/sparsecopy/sparsecopy/examples/internal/notify"
)

var _ notify.Queue = (*Engine)(nil)

// Enqueue implements notify.Queue: what was pushed is copied before all that is due by schedule.
func (e *Engine) Enqueue(tag reference.NamedTagged) notify.Verdict {
	verdict, plan, queued := e.enqueue(tag)
	for _, c := range queued {
		plan.Promise(c)
	}
	return verdict
}

// enqueue is Enqueue, and returns which copies wait that did not before.
func (e *Engine) enqueue(tag reference.NamedTagged) (verdict notify.Verdict, plan Plan, queued []Copy) {
	e.mu.Lock()
	defer e.mu.Unlock()
	verdict = notify.Unwanted
	if e.plan == nil {
		return verdict, nil, nil
	}
	plan = e.plan.Plan
	for _, c := range e.plan.Pushed(tag) {
		waits := e.copies.Waits(c.Destination)
		switch {
		case !e.copies.Add(c.Destination, c, true):
			return notify.Full, plan, queued
		case !waits:
			queued = append(queued, c)
			verdict = notify.Queued
		case verdict == notify.Unwanted:
			verdict = notify.Waiting
		}
	}
	if verdict == notify.Queued {
		e.awake()
	}
	return verdict, plan, queued
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
