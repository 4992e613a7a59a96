package registry

import (
	"context"
	"sync"
)

// limiter bounds the requests in flight at one host, once the host has asked for it: it halves the bound when the host refuses
// for being busy, and raises it by one for as many successes as it allows requests. The zero value has no bound.
type limiter struct {
	most int // whatever the host asks for, 0 for no bound; does not change after the first use

	mu        sync.Mutex
	inFlight  int
	bound     int // 0 if there is none, otherwise at least 1
	successes int // since the bound changed
	epoch     int // how often the bound was lowered
	waiting   []chan struct{}
}

// acquire waits for a slot. release must be called with the epoch that it returns.
func (l *limiter) acquire(ctx context.Context) (epoch int, err error) {
	l.mu.Lock()
	if l.free() {
		defer l.mu.Unlock()
		l.inFlight++
		return l.epoch, nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()

	select {
	case <-turn:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.epoch, nil
	case <-ctx.Done():
		l.abandon(turn)
		return 0, context.Cause(ctx)
	}
}

// force takes a slot without waiting, beyond the bound if need be.
func (l *limiter) force() (epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight++
	return l.epoch
}

func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.wake()
}

// busy says that the host refused a request that was sent in the given epoch. Requests that were in flight when the bound was
// lowered do not lower it again.
func (l *limiter) busy(epoch int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if epoch != l.epoch {
		return
	}
	current := l.inFlight
	if l.bound > 0 {
		current = min(current, l.bound)
	}
	l.bound = max(1, current/2)
	l.successes = 0
	l.epoch++
}

// succeeded says that the host did what a request asked.
func (l *limiter) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bound == 0 {
		return
	}
	if l.successes++; l.successes >= l.bound {
		l.bound++
		l.successes = 0
		l.wake()
	}
}

func (l *limiter) free() bool {
	return (l.bound == 0 || l.inFlight < l.bound) && (l.most == 0 || l.inFlight < l.most)
}

// wake gives free slots to those who wait, in their order.
func (l *limiter) wake() {
	for len(l.waiting) > 0 && l.free() {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		l.inFlight++
	}
}

// abandon leaves the queue, or gives back a slot that was granted in the meantime.
func (l *limiter) abandon(turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, w := range l.waiting {
		if w == turn {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			return
		}
	}
	l.inFlight--
	l.wake()
}
