package audit

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A Rebuilt says what RebuildReferrers has done.
type Rebuilt struct {
	Written int `json:"written"` // links that were missing
	Removed int `json:"removed"` // links that should not have been there
}

// RebuildReferrers makes the links from subjects to what refers to them what the manifests say, and
// then brings the referrers tags of all subjects up to date. A link whose manifest cannot be read
// stays. Nobody else may write to the storage meanwhile: the caller has its lock. What was done
// before an error stays, and is right.
func RebuildReferrers(ctx context.Context, store *registrystore.Store, o Options) (Rebuilt, error) {
	c := newChecker(store, o)
	var done Rebuilt
	err := store.Repositories(ctx, func(name string) error {
		facts, err := c.gather(ctx, name, c.storedNow)
		if err != nil {
			return err
		}
		if err := facts.mendReferrers(ctx, store, &done); err != nil {
			return err
		}
		return facts.refreshTags(ctx, referrers.New(store))
	})
	return done, err
}

// mendReferrers writes and removes links, and counts them.
func (f *facts) mendReferrers(ctx context.Context, store *registrystore.Store, done *Rebuilt) error {
	missing, stray := f.referrersToMend()
	for _, r := range missing {
		if err := store.PutReferrer(ctx, f.repository, r.subject, r.referrer); err != nil {
			return err
		}
		done.Written++
	}
	for _, r := range stray {
		if err := store.RemoveReferrer(ctx, f.repository, r.subject, r.referrer); err != nil {
			return err
		}
		done.Removed++
	}
	return nil
}

// refreshTags brings the referrers tags of all subjects up to date that are, or were, linked.
func (f *facts) refreshTags(ctx context.Context, links *referrers.Links) error {
	subjects := map[digest.Digest]bool{}
	for r := range f.referrers {
		subjects[r.subject] = true
	}
	for _, document := range f.documents {
		if subject := document.subject(); subject != "" {
			subjects[subject] = true
		}
	}
	for _, subject := range slices.Sorted(maps.Keys(subjects)) {
		if err := links.Refresh(ctx, f.repository, subject); err != nil {
			return err
		}
	}
	return nil
}
