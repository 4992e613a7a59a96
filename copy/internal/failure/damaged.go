package failure

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// DamagedError says that the destination lacks something that an earlier copy has left there, and
// that it cannot be copied again. The destination's reference names what it named before.
type DamagedError struct {
	Destination string          // its reference
	Lacks       []digest.Digest // manifests, lists or blobs that it lacks, or has with other bytes
	Err         error           // why they cannot be copied again
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s %s is damaged: it lacks %s, which an earlier copy has left there, and which cannot be copied again: %v",
		DestinationSide, e.Destination, prose.Some(prose.Digests(e.Lacks)), e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// NotAtSource returns what err says that the source definitely does not have, of what is to be
// copied: manifests, lists or blobs; none if it says anything else.
func NotAtSource(err error) []digest.Digest {
	if missing, ok := errors.AsType[*plan.MissingError](err); ok {
		var all []digest.Digest
		for _, m := range missing.Missing {
			all = append(all, m.Digest)
		}
		return all
	}
	for {
		failed, ok := errors.AsType[*Error](err)
		if !ok || failed.Op == ReadingConfig { // the destination may have it
			return nil
		}
		if d := digest.Digest(failed.Object); failed.Side == SourceSide && errors.Is(failed.Err, endpoint.ErrNotFound) && d.Validate() == nil {
			return []digest.Digest{d}
		}
		err = failed.Err // a destination may have asked for it
	}
}
