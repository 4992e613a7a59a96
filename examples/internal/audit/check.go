package audit

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// Options say how a storage is checked. The zero value hashes everything, and holds lists against a
// policy that is off: every child must be there.
type Options struct {
	Policies sparseregistry.Policies  // in force
	Proposed *sparseregistry.Policies // what they would refuse is found, too; nil for none

	// SkipContent leaves blobs unread: only that they are there, and how large they are, is
	// checked. Manifests are read all the same.
	SkipContent bool

	Readers int // how many files are read at the same time; 0 for DefaultReaders

	// Wait is called once, before the second look, if there is one. It returns when requests that
	// were under way at the first look have been answered, or with an error when ctx ends. nil
	// waits for five seconds.
	Wait func(ctx context.Context) error
}

// DefaultReaders is how many files are read at the same time unless Options say otherwise.
const DefaultReaders = 8

// settling is how long requests may leave the storage between two states, by default.
const settling = 5 * time.Second

// Check checks a storage. It fails only if it cannot look, also for
// registrystore.ErrNoRepositories: whatever is wrong with what it sees is a finding.
func Check(ctx context.Context, store *registrystore.Store, o Options) (*Report, error) {
	c := newChecker(store, o)
	if err := c.takeInventory(ctx); err != nil {
		return nil, err
	}
	suspects, err := c.lookAtRepositories(ctx)
	if err != nil {
		return nil, err
	}
	contents, _, _ := c.inventory.sum()
	if err := store.CheckCounts(c.counts.Repositories, contents); err != nil {
		return nil, err
	}
	findings, err := c.stillSo(ctx, suspects, c.contentFindings())
	if err != nil {
		return nil, err
	}
	return c.report(findings), nil
}

// A checker is one check.
type checker struct {
	store   *registrystore.Store
	options Options
	begun   time.Time

	inventory *inventory
	counts    Counts
}

func newChecker(store *registrystore.Store, o Options) *checker {
	if o.Readers == 0 {
		o.Readers = DefaultReaders
	}
	if o.Wait == nil {
		o.Wait = func(ctx context.Context) error { return clock.Sleep(ctx, clock.System, settling) }
	}
	return &checker{store: store, options: o, begun: clock.System.Now(), inventory: newInventory()}
}

// demands are the policies that a repository is held against.
func (c *checker) demands(repository string) demands {
	d := demands{inForce: c.options.Policies.For(repository)}
	if c.options.Proposed != nil {
		proposed := c.options.Proposed.For(repository)
		d.proposed = &proposed
	}
	return d
}

// lookAtRepositories judges one repository after the other, and returns what looks wrong.
func (c *checker) lookAtRepositories(ctx context.Context) ([]Finding, error) {
	var suspects []Finding
	err := c.store.Repositories(ctx, func(name string) error {
		facts, err := c.gather(ctx, name, c.stored)
		if err != nil {
			return err
		}
		c.counts.Repositories++
		c.counts.Tags += len(facts.tags)
		c.counts.Manifests += len(facts.manifests)
		suspects = append(suspects, judge(facts, c.demands(name))...)
		return nil
	})
	return suspects, err
}

// stillSo looks once more, after a while, at everything that looks wrong, and returns what it finds
// again. Between the two looks, pushes, deletions and collections that were under way at the first
// one have gone on.
func (c *checker) stillSo(ctx context.Context, suspects, contents []Finding) ([]Finding, error) {
	if len(suspects)+len(contents) == 0 {
		return nil, nil
	}
	if err := c.options.Wait(ctx); err != nil {
		return nil, err
	}
	// Contents come first: whether they are altered is a fact about repositories.
	contents, err := c.contentsStillSo(ctx, contents)
	if err != nil {
		return nil, err
	}
	suspects, err = c.repositoriesStillSo(ctx, suspects)
	contents = slices.DeleteFunc(contents, func(f Finding) bool {
		return f.Kind == Orphan && c.inventory.linked(f.Digest) // since
	})
	return append(suspects, contents...), err
}

// repositoriesStillSo looks once more at the repositories in which something looks wrong, and
// returns what it finds again.
func (c *checker) repositoriesStillSo(ctx context.Context, suspects []Finding) ([]Finding, error) {
	suspected := map[identity]bool{}
	repositories := map[string]bool{}
	for _, f := range suspects {
		suspected[f.identity()] = true
		repositories[f.Repository] = true
	}
	var findings []Finding
	for _, name := range slices.Sorted(maps.Keys(repositories)) {
		facts, err := c.gather(ctx, name, c.storedNow)
		if err != nil {
			return nil, err
		}
		for _, f := range judge(facts, c.demands(name)) {
			if suspected[f.identity()] {
				findings = append(findings, f)
			}
		}
	}
	return findings, nil
}
