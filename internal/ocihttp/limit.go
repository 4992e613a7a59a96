package ocihttp

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// A Limiter bounds the requests in flight at one host, once the host has asked for it: it halves
// the bound when the host refuses for being busy (429, 503), and raises it by one for as many
// successes as it allows requests. The zero value has no bound. It must not be copied.
type Limiter struct {
	Most int // whatever the host asks for, 0 for no bound; does not change after the first use

	mu        sync.Mutex
	inFlight  int
	bound     int // 0 if there is none, otherwise at least 1
	successes int // since the bound changed
	epoch     int // how often the bound was lowered
	waiting   []chan struct{}
}

// ErrNoSlot is the end of a request that does without being sent if there is no slot for it.
var ErrNoSlot = errors.New("no slot is free")

// Limit is the layer that holds a request back until there is a slot, whose end is that of its
// context; a request that must not wait, by its Call, takes one beyond the bound, and one that is
// of use with a spare slot only fails with ErrNoSlot. The slot is free again when the body of the
// answer is closed, or if there is none.
func (l *Limiter) Limit(next http.RoundTripper) http.RoundTripper {
	return RoundTripFunc(func(req *http.Request) (*http.Response, error) {
		epoch, err := l.acquire(req.Context())
		if err != nil {
			return nil, err
		}
		resp, err := next.RoundTrip(req)
		if err != nil {
			l.release()
			return nil, err
		}
		switch {
		case resp.StatusCode < 300:
			l.succeeded()
		case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
			l.busy(epoch)
		}
		resp.Body = onClose(resp.Body, l.release)
		return resp, nil
	})
}

// AtMost returns n, or as many as may be in flight by now.
func (l *Limiter) AtMost(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, bound := range []int{l.Most, l.bound} {
		if bound > 0 {
			n = min(n, bound)
		}
	}
	return n
}

// acquire waits for a slot, unless the Call of ctx forbids it. release must be called when it is
// not needed any more, and before that busy, with the epoch, if the host says so.
func (l *Limiter) acquire(ctx context.Context) (epoch int, err error) {
	call := callOf(ctx)
	l.mu.Lock()
	if call.Spare > 0 && (!l.free() || l.inFlight >= call.Spare) {
		defer l.mu.Unlock()
		return 0, ErrNoSlot
	}
	if l.free() || call.Forced {
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

func (l *Limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.wake()
}

// busy notes that the host refused a request that was sent in the given epoch. Requests that were
// in flight when the bound was lowered do not lower it again.
func (l *Limiter) busy(epoch int) {
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

// succeeded notes that the host did what a request asked.
func (l *Limiter) succeeded() {
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

func (l *Limiter) free() bool {
	return (l.bound == 0 || l.inFlight < l.bound) && (l.Most == 0 || l.inFlight < l.Most)
}

// wake gives free slots to those who wait, in their order.
func (l *Limiter) wake() {
	for len(l.waiting) > 0 && l.free() {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		l.inFlight++
	}
}

// abandon leaves the queue, or gives back a slot that was granted in the meantime.
func (l *Limiter) abandon(turn chan struct{}) {
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
