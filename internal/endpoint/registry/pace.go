package registry

import (
	"context"
	"sync"
	"time"
)

// A pace bounds the bytes per second of all who share it. What was saved up by doing less lasts for a tenth of a second.
type pace struct {
	rate int64 // bytes per second, positive

	mu   sync.Mutex
	paid time.Time // when what was taken so far will have been allowed; guarded by mu
}

// burst is the time whose bytes may be taken at once.
const burst = 100 * time.Millisecond

// take waits until n bytes more are allowed. p may be nil.
func (p *pace) take(ctx context.Context, n int) error {
	if p == nil || n <= 0 {
		return nil
	}
	delay := p.book(n, time.Now())
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// book takes n bytes, and returns how long to wait.
func (p *pace) book(n int, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if earliest := now.Add(-burst); p.paid.Before(earliest) {
		p.paid = earliest
	}
	p.paid = p.paid.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return p.paid.Sub(now)
}
