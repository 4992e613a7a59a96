package transforming

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// maxImages is how many images are begun at the same time, of which only a few are worked on.
const maxImages = 32

// All calls one for each of what is wanted, with its position, many at the same time, and returns
// what it has returned. The error is the first of one, which ends the context of the others.
func All(
	ctx context.Context, wanted []plan.Transform, one func(ctx context.Context, i int, wanted plan.Transform) (endpoint.Document, error),
) (map[plan.TransformKey]endpoint.Document, error) {
	var mu sync.Mutex // guards results
	results := map[plan.TransformKey]endpoint.Document{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxImages)
	for i, w := range wanted {
		group.Go(func() error {
			result, err := one(ctx, i, w)
			mu.Lock()
			defer mu.Unlock()
			results[w.Key()] = result
			return err
		})
	}
	return results, group.Wait()
}
