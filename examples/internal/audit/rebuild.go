package audit

import (
	"context"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A Rebuilt says what RebuildReferrers has done.
type Rebuilt struct {
	Written int `json:"written"` // links that were missing
	Removed int `json:"removed"` // links that should not have been there
}

// RebuildReferrers makes the links from subjects to what refers to them what the manifests say. A
// link whose manifest cannot be read stays. Nobody else may write to the storage meanwhile: the
// caller has its lock. What was done before an error stays, and is right.
func RebuildReferrers(ctx context.Context, store *registrystore.Store, o Options) (Rebuilt, error) {
	c := newChecker(store, o)
	var done Rebuilt
	err := store.Repositories(ctx, func(name string) error {
		facts, err := c.gather(ctx, name, c.storedNow)
		if err != nil {
			return err
		}
		missing, stray := facts.referrersToMend()
		for _, r := range missing {
			if err := store.PutReferrer(ctx, name, r.subject, r.referrer); err != nil {
				return err
			}
			done.Written++
		}
		for _, r := range stray {
			if err := store.RemoveReferrer(ctx, name, r.subject, r.referrer); err != nil {
				return err
			}
			done.Removed++
		}
		return nil
	})
	return done, err
}
