package registrygc

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
	"github.com/sparsecopy/sparsecopy/internal/clock"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

const (
	// turnTime is about how long clients wait for a turn of an online collection, and restFor how
	// many times that long the next one waits for them.
	turnTime = 20 * time.Millisecond
	restFor  = 4
)

// ErrRunning says that a collection has not ended that another one would have to wait for.
var ErrRunning = errors.New("another collection is running")

// An Online collects garbage while a server serves. It marks without holding anybody up, and
// removes in short turns in which it has the storage alone. What clients have come to use since the
// collection began, it hears of (Note), and spares. Its methods are safe for concurrent use.
type Online struct {
	store *registrystore.Store
	lock  *sparseregistry.StorageLock
	clock clock.Clock

	running sync.Mutex // held by a collection

	mu   sync.Mutex
	used map[sparseregistry.Use]bool // that have not been looked at; nil while no collection runs; guarded by mu
}

// NewOnline returns what collects in a storage that is used by those only who hold lock, and who
// Note what they use before they release it.
func NewOnline(store *registrystore.Store, lock *sparseregistry.StorageLock, c clock.Clock) *Online {
	return &Online{store: store, lock: lock, clock: c}
}

// Note says that something is used, or has been stored, which a collection must not remove from now
// on.
func (o *Online) Note(u sparseregistry.Use) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.used != nil {
		o.used[u] = true
	}
}

// Progress says how far a collection is.
type Progress struct {
	Goes    Totals `json:"goes"` // what the plan is; nothing while there is none
	Removed Totals `json:"removed"`
	Spared  Totals `json:"spared"`
}

// Collect removes what nothing needs, and reports as Collect does. progress is called now and then,
// by the goroutine of the caller. If another collection runs, the error is ErrRunning.
func (o *Online) Collect(ctx context.Context, options Options, progress func(Progress)) (*Report, error) {
	if !o.running.TryLock() {
		return nil, ErrRunning
	}
	defer o.running.Unlock()
	o.begin()
	defer o.end()
	progress(Progress{})
	plan, report, err := planAndReport(ctx, o.store, options, o.clock)
	if err != nil {
		return nil, err
	}
	report.Delete, report.Online = true, true
	s := newSweep(o.store, plan)
	err = o.sweep(ctx, s, plan, progress)
	report.Removed, report.Spared = s.removed, s.kept
	report.end(o.clock, err)
	return report, err
}

func (o *Online) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used = map[sparseregistry.Use]bool{}
}

func (o *Online) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.used = nil
}

// take returns what was noted since it was called last.
func (o *Online) take() map[sparseregistry.Use]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	used := o.used
	o.used = map[sparseregistry.Use]bool{}
	return used
}

// sweep takes the steps of a plan, turn by turn.
func (o *Online) sweep(ctx context.Context, s *sweep, plan *Plan, progress func(Progress)) error {
	next, stop := iter.Pull(plan.steps())
	defer stop()
	for {
		if err := s.spareUsed(ctx, o.take()); err != nil { // most of it, so that the turn is short
			return err
		}
		took, more, err := o.turn(ctx, s, next)
		progress(Progress{s.goes, s.removed, s.kept})
		if err != nil || !more {
			return err
		}
		if err := clock.Sleep(ctx, o.clock, restFor*took); err != nil {
			return err
		}
	}
}

// turn takes some steps while nobody else uses the storage.
func (o *Online) turn(ctx context.Context, s *sweep, next func() (step, bool)) (took time.Duration, more bool, err error) {
	defer o.lock.Exclusive()()
	begun := o.clock.Now()
	if err := s.spareUsed(ctx, o.take()); err != nil {
		return 0, false, err
	}
	if err := s.mend(ctx); err != nil {
		return 0, false, err
	}
	for took < turnTime {
		if err := ctx.Err(); err != nil {
			return took, false, err
		}
		step, ok := next()
		if !ok {
			return took, false, nil
		}
		if err := s.do(ctx, step); err != nil {
			return took, false, err
		}
		took = clock.Since(o.clock, begun)
	}
	return took, true, nil
}
