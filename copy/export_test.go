package copy

import "github.com/sparsecopy/sparsecopy/copy/internal/budget"

// What tests outside this package use of it, and nobody else.

// MostSmallBlobs is how many small blobs a copy has in flight, if nothing else is said.
const MostSmallBlobs = budget.Parallel * budget.Slot
