package copy

import (
	"cmp"
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/vouching"
)

// vouch has the keys that were kept sign what the list has become, which is there by its digest, if
// the original is judged to be signed. Otherwise the report says why not.
func vouch(ctx context.Context, to *storer) error {
	if to.kept == nil {
		return nil
	}
	judge := to.policy
	judge.Context = cmp.Or(to.o.OriginPolicy, judge.Context)
	mirror := vouching.Mirror{Options: to.o.vouching(), Keys: to.kept, Origin: to.src.Reference(), Policy: judge, Clock: to.copier.clock()}
	place, _ := to.dst.(vouching.Place)
	said, err := mirror.Vouch(ctx, to.plan, vouching.Site{
		Place: place, Budget: to.budget, Store: to.original.Finish,
		Sign: func(ctx context.Context, d []digest.Digest) error {
			return to.vouchingFor(to.survey).Add(ctx, d, toSign(to))
		},
	})
	if err != nil {
		return failure.Signing(failure.Attaching(DestinationSide, to.dstName, err))
	}
	if said.Reason != "" {
		to.progress.Line("The keys sign nothing: %s", said.Reason)
	}
	to.reporter.Vouched(said)
	return nil
}
