// Package inflight runs what waits for others, such as requests, at the same time, within a budget:
// a semaphore that counts everything in flight, of one copy or of several.
package inflight

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Each runs f for each element, with a slot of the budget, and returns the first error, after which
// nothing else begins. It always waits for everything that it started, and it never returns nil if
// ctx ended.
func Each[T any](ctx context.Context, budget *semaphore.Weighted, elements []T, f func(context.Context, T) error) error {
	groupCtx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var (
		group  sync.WaitGroup
		failed sync.Once
		first  error
	)
	for _, e := range elements {
		if err := budget.Acquire(groupCtx, 1); err != nil {
			break
		}
		group.Go(func() {
			defer budget.Release(1)
			if err := f(groupCtx, e); err != nil {
				failed.Do(func() {
					first = err
					end(err) // before the slot is free
				})
			}
		})
	}
	group.Wait()
	if first != nil {
		return first
	}
	return context.Cause(ctx)
}

// Ask is Each for questions: it runs ask for each element, and gives note the answers one at a
// time, in the order in which they come. The first error of note ends it; what an error of ask
// means is note's to decide.
func Ask[T, A any](ctx context.Context, budget *semaphore.Weighted, elements []T,
	ask func(context.Context, T) (A, error), note func(T, A, error) error,
) error {
	var mu sync.Mutex
	return Each(ctx, budget, elements, func(ctx context.Context, e T) error {
		answer, err := ask(ctx, e)
		mu.Lock()
		defer mu.Unlock()
		return note(e, answer, err)
	})
}

// One runs f with a slot of the budget.
func One(ctx context.Context, budget *semaphore.Weighted, f func() error) error {
	if err := budget.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer budget.Release(1)
	return f()
}

// Numbers calls f with the numbers below n, at most so many at the same time, and returns when all
// calls have. When ctx ends, it calls f no more: not with unbegun and what follows.
func Numbers(ctx context.Context, most int64, n int, f func(i int)) (unbegun int) {
	slots := semaphore.NewWeighted(most)
	for unbegun < n && slots.Acquire(ctx, 1) == nil {
		i := unbegun
		go func() {
			defer slots.Release(1)
			f(i)
		}()
		unbegun++
	}
	// All slots are free when all calls have ended. They end soon after ctx does.
	_ = slots.Acquire(context.WithoutCancel(ctx), most)
	return unbegun
}
