package endpoint

import (
	"context"

	"golang.org/x/sync/semaphore"
)

type spareKey struct{}

// spare is what Spare takes.
type spare struct {
	budget *semaphore.Weighted
	weight int64
}

// WithSpare returns ctx for work that holds weight of budget, and that may do parts of itself at
// the same time, each for as much again: see Spare.
func WithSpare(ctx context.Context, budget *semaphore.Weighted, weight int64) context.Context {
	return context.WithValue(ctx, spareKey{}, spare{budget, weight})
}

// Spare takes what a part counts for in the budget of ctx, which done gives back, and reports
// whether there was so much. It does not wait, and those who wait come first. If ctx is not of
// WithSpare, there is no bound.
func Spare(ctx context.Context) (done func(), ok bool) {
	s, bounded := ctx.Value(spareKey{}).(spare)
	switch {
	case !bounded:
		return func() {}, true
	case !s.budget.TryAcquire(s.weight):
		return nil, false
	}
	return func() { s.budget.Release(s.weight) }, true
}
