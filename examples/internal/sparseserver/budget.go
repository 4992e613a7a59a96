package sparseserver

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/examples/internal/registrystore"
)

const (
	// manifestMemory is about how many bytes of memory manifests take at the most that are being
	// checked and stored. The process takes twice as much, and what it takes anyway.
	manifestMemory = 128 << 20

	defaultManifestWait = 30 * time.Second

	// smallManifest is the weight up to which a manifest waits for small ones only: those have a
	// quarter of the memory to themselves. Most manifests that there are weigh less than a tenth.
	smallManifest = 1 << 20
)

// busyReason is why a manifest is denied that found no memory.
const busyReason = "busy"

// spool is the directory for manifests that arrive: among the own files of a storage directory, or
// "", the system's, where there is none.
func spool(storage string) string {
	if storage == "" {
		return ""
	}
	return filepath.Join(storage, registrystore.OwnDirectory)
}

// A budget bounds the memory that manifests take which are being checked and stored. What does not
// fit waits, in the order in which it came.
type budget struct {
	small, large lane
	wait         time.Duration
	waiting      prometheus.Gauge
	used         prometheus.Gauge
}

// A lane is a part of the memory.
type lane struct {
	bytes int64
	free  *semaphore.Weighted
}

func newLane(bytes int64) lane { return lane{bytes, semaphore.NewWeighted(bytes)} }

func newBudget(bytes int64, wait time.Duration, m *metrics) *budget {
	b := &budget{
		small: newLane(bytes / 4), large: newLane(bytes - bytes/4), wait: wait,
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sparse_registry_manifests_waiting", Help: "Manifests that have arrived, and wait for memory.",
		}),
		used: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sparse_registry_manifest_memory_bytes", Help: "Memory that manifests take which are being checked and stored, at the most.",
		}),
	}
	m.register(b.waiting, b.used)
	return b
}

// admit waits until there are weight bytes, for at most b.wait. Whatever weighs more than there can
// be gets all that there is. It may be called concurrently.
func (b *budget) admit(ctx context.Context, weight int64) (release func(), err error) {
	lane := b.large
	if weight <= smallManifest {
		lane = b.small
	}
	weight = min(weight, lane.bytes)
	if err := b.acquire(ctx, lane, weight); err != nil {
		return nil, err
	}
	b.used.Add(float64(weight))
	return func() {
		b.used.Sub(float64(weight))
		lane.free.Release(weight)
	}, nil
}

func (b *budget) acquire(ctx context.Context, lane lane, weight int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, b.wait, fmt.Errorf("no memory for it in %v", b.wait))
	defer cancel()
	b.waiting.Inc()
	defer b.waiting.Dec()
	if lane.free.Acquire(ctx, weight) != nil {
		return context.Cause(ctx)
	}
	return nil
}
