package inspect

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inflight"
)

// checkLost asks the source for what is wrong at the destination, as far as a copy would bring it
// from there, and notes what no copy can bring back. A question without an answer is no evidence.
func (v *verifier) checkLost(ctx context.Context) error {
	if v.Manifest == nil {
		for i := range v.found.Violations {
			v.found.Violations[i].Lost = true
		}
		return nil
	}
	wrong := make([]int, len(v.found.Violations))
	for i := range wrong {
		wrong[i] = i
	}
	return inflight.Each(ctx, v.Limit, wrong, func(ctx context.Context, i int) error {
		bad := &v.found.Violations[i] // nobody else has it
		bad.Lost = errors.Is(v.askSource(ctx, bad.What, bad.Digest), endpoint.ErrNotFound)
		return nil
	})
}

// askSource asks the source for a manifest, list or blob that a copy would bring from there. It
// returns nil for anything else, and for what is made of something else on the way.
func (v *verifier) askSource(ctx context.Context, what string, d digest.Digest) error {
	switch what {
	case aList, aManifest:
		if !v.comesFromSource(d) {
			return nil
		}
		_, err := v.Manifest(ctx, d)
		return err
	case aConfig, aLayer:
		owner := v.owner[d]
		if !v.comesFromSource(owner) {
			return nil
		}
		r, err := v.Blob(owner, endpoint.Blob{Digest: d, Size: -1, Config: what == aConfig})(ctx)
		if err != nil {
			return err
		}
		_, err = io.ReadFull(r, make([]byte, 1)) // there are sources that open late
		return errors.Join(err, r.Close())
	}
	return nil
}

// comesFromSource reports whether a manifest or list is written as it is read.
func (v *verifier) comesFromSource(d digest.Digest) bool {
	return slices.Contains(v.want.Carried, d)
}
