package sparseserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

const (
	// manifestMemory is about how many bytes of memory manifests take at the most that are being
	// checked and stored, readMemory those that are being read, for clients and referrers, and
	// childMemory those that are looked for because a list names them, by who keeps a collection of
	// garbage waiting, and so waits for others like it only. The process takes twice as much, and
	// what it takes anyway.
	manifestMemory = 128 << 20
	readMemory     = 64 << 20
	childMemory    = 32 << 20

	defaultManifestWait = 30 * time.Second

	// smallManifest is the weight up to which a manifest waits for small ones only: those have a
	// quarter of the memory to themselves. Most manifests that there are weigh less than a tenth.
	smallManifest = 1 << 20
)

// busyReason is why a manifest is denied, or a request for one, that found no memory; leftReason
// why one is that nobody waits for any more.
const busyReason, leftReason = "busy", "client_left"

// spool is the directory for manifests that arrive: among the own files of a storage directory, or
// "", the system's, where there is none.
func spool(storage string) string {
	if storage == "" {
		return ""
	}
	return filepath.Join(storage, registrystore.OwnDirectory)
}

// A budget bounds the memory that manifests take which are being stored, or read. What does not fit
// waits, in the order in which it came.
type budget struct {
	small, large lane
	wait         time.Duration
	gauges       budgetGauges
}

// budgetGauges tell of all budgets of a server together.
type budgetGauges struct{ waiting, used prometheus.Gauge }

func newBudgetGauges(m *metrics) budgetGauges {
	g := budgetGauges{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sparse_registry_manifests_waiting", Help: "Manifests that wait for memory: that have arrived, or are to be read.",
		}),
		used: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sparse_registry_manifest_memory_bytes", Help: "Memory that manifests take which are being stored or read, at the most.",
		}),
	}
	m.register(g.waiting, g.used)
	return g
}

// A lane is a part of the memory.
type lane struct {
	bytes int64
	free  *semaphore.Weighted
}

func newLane(bytes int64) lane { return lane{bytes, semaphore.NewWeighted(bytes)} }

func newBudget(bytes int64, wait time.Duration, g budgetGauges) *budget {
	return &budget{small: newLane(bytes / 4), large: newLane(bytes - bytes/4), wait: wait, gauges: g}
}

// admit waits until there are weight bytes, for at most b.wait. Whatever weighs more than there can
// be gets all that there is. It may be called concurrently.
func (b *budget) admit(ctx context.Context, weight int64) (release func(), err error) {
	lane, weight := b.place(weight)
	if err := b.acquire(ctx, lane, weight); err != nil {
		return nil, err
	}
	return b.taken(lane, weight), nil
}

// admitNow is admit for somebody who must not wait: ok is false if there are fewer now.
func (b *budget) admitNow(weight int64) (release func(), ok bool) {
	lane, weight := b.place(weight)
	if !lane.free.TryAcquire(weight) {
		return nil, false
	}
	return b.taken(lane, weight), true
}

// place is where weight bytes are to be had, and how many it gets.
func (b *budget) place(weight int64) (lane, int64) {
	if weight <= smallManifest {
		return b.small, weight
	}
	return b.large, min(weight, b.large.bytes)
}

// A noMemoryError says that something has waited for memory in vain.
type noMemoryError struct{ wait time.Duration }

func (e *noMemoryError) Error() string { return fmt.Sprintf("no memory for it in %v", e.wait) }

// noteFailure says why a request failed.
func noteFailure(r *http.Request, err error) {
	if busy := new(noMemoryError); errors.As(err, &busy) {
		noteReason(r, busyReason)
	}
	noteError(r, err)
}

func (b *budget) acquire(ctx context.Context, lane lane, weight int64) error {
	if lane.free.TryAcquire(weight) {
		return nil // without looking at the clock
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.wait, &noMemoryError{b.wait})
	defer cancel()
	b.gauges.waiting.Inc()
	defer b.gauges.waiting.Dec()
	if lane.free.Acquire(ctx, weight) != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (b *budget) taken(lane lane, weight int64) (release func()) {
	b.gauges.used.Add(float64(weight))
	return func() {
		b.gauges.used.Sub(float64(weight))
		lane.free.Release(weight)
	}
}
