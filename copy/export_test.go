package copy

import (
	"time"

	"github.com/sparsecopy/sparsecopy/copy/internal/budget"
)

// What tests outside this package use of it, and nobody else.

// MostSmallBlobs is how many small blobs a copy has in flight, if nothing else is said.
const MostSmallBlobs = budget.Parallel * budget.Slot

// SetClock makes c take now for the time of day, where it remembers what registries say.
func (c *Copier) SetClock(now func() time.Time) { c.shared.Now = now }
