package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/examples/internal/referrers"
	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

// A Rebuilt says what RebuildReferrers has done.
type Rebuilt struct {
	Written int // links that were missing
	Removed int // links that should not have been there

	Tags error // which tags could not be brought up to date, and why; nil for none
}

// RebuildReferrers makes the links from subjects to what refers to them what the manifests say, and
// then brings the referrers tags of all subjects up to date. A link whose manifest cannot be read
// stays, and a tag stays as it was that something needs which cannot be read. Nobody else may write
// to the storage meanwhile: the caller has its lock. What was done before an error stays, and is
// right.
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
		failed, err := facts.refreshTags(ctx, referrers.New(store))
		done.Tags = errors.Join(done.Tags, failed)
		return err
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
// failed says of which it could not; err, that ctx has ended.
func (f *facts) refreshTags(ctx context.Context, links *referrers.Links) (failed, err error) {
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
			failed = errors.Join(failed, fmt.Errorf("repository %s: %w", f.repository, err))
		}
		if err := ctx.Err(); err != nil {
			return failed, err
		}
	}
	return failed, nil
}
