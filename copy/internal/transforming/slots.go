package transforming

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Slots are some of a semaphore that somebody holds. They are safe for concurrent use.
type slots struct {
	of   *semaphore.Weighted
	n    int64
	once sync.Once
}

// take waits for n slots. When ctx ends first, it fails with its cause.
func take(ctx context.Context, of *semaphore.Weighted, n int64) (*slots, error) {
	if err := of.Acquire(ctx, n); err != nil {
		return nil, context.Cause(ctx)
	}
	return &slots{of: of, n: n}, nil
}

// release gives the slots back, unless that is done, or there are none.
func (s *slots) release() {
	if s != nil {
		s.once.Do(func() { s.of.Release(s.n) })
	}
}
