package reading

import (
	"context"
	"maps"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/attached"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
)

// Attached returns where it is told what is attached. The error says why the source does not.
func (r *Reader) Attached(l known.Source) (attach.Source, error) {
	referrers, err := endpoint.ReferrersAt(r.Source)
	return attach.Source{
		Place:     attach.Place{Name: r.Name, Referrers: referrers, Manifest: r.Source.Manifest},
		Elsewhere: r.Elsewhere, Top: l.Top.Digest, Held: l.Document, Budget: r.Budget,
	}, err
}

// ListSignatures returns l.ListSignatures with the signatures that are attached to lists which p
// changes. That a question is not answered is among them, and no error.
func (r *Reader) ListSignatures(ctx context.Context, l known.Source, p *plan.Plan, lists []digest.Digest) (map[digest.Digest]plan.ListSignatures, error) {
	all := map[digest.Digest]plan.ListSignatures{}
	maps.Copy(all, l.ListSignatures)
	src, err := r.Attached(l)
	if err != nil {
		for _, d := range lists {
			all[d] = plan.ListSignatures(attach.UnknownSignatures("what is attached to it", err))
		}
		return all, nil
	}
	found, err := attach.FindSignatures(ctx, src, lists, attached.Choices(r.Choices, p), attached.Of(p.Attached))
	for d, signatures := range found {
		all[d] = plan.ListSignatures(signatures)
	}
	return all, err
}
