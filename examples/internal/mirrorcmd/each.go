package mirrorcmd

import (
	"cmp"
	"context"

	"golang.org/x/sync/errgroup"
)

// eachOf calls f with the numbers below n, up to limit at the same time. When ctx ends, it calls f
// no more.
func eachOf(ctx context.Context, limit uint, n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(int(limit))
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait()
}

// askEach asks about each of keys, up to limit at the same time, and returns all answers. The error
// is context.Cause, or that of the first key, in their order, for which ask has one.
func askEach[K comparable, T any](ctx context.Context, limit uint, keys []K, ask func(K) (T, error)) (map[K]T, error) {
	answers, errs := make([]T, len(keys)), make([]error, len(keys))
	eachOf(ctx, limit, len(keys), func(i int) { answers[i], errs[i] = ask(keys[i]) })
	if err := cmp.Or(context.Cause(ctx), cmp.Or(errs...)); err != nil {
		return nil, err
	}
	all := make(map[K]T, len(keys))
	for i, key := range keys {
		all[key] = answers[i]
	}
	return all, nil
}
