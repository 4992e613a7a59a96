package earlier

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/asking"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/internal/reading"
	"github.com/sparsecopy/sparsecopy/copy/internal/work"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
)

// A Mirror is a destination that is held against its own lists, since the source is gone.
type Mirror struct {
	Own    endpoint.SizedSource // the destination, to be read
	Reader *reading.Reader      // of Own
	Asks   asking.Destination
	// Kept is set if its list is the one that the source had, so that it may name what is not
	// selected. Otherwise everything that it names was copied.
	Kept bool
	// Wanted is the fingerprint of what the earlier copy has left.
	Wanted digest.Digest
	// Blobs is set if every blob is looked for, too.
	Blobs bool
}

// Lacks returns what the destination lacks of what its list names and was selected. Errors are
// those of Reader, and of documents that cannot be read.
func (m Mirror) Lacks(ctx context.Context) ([]digest.Digest, error) {
	choices := plan.Choices{ImageListSelection: plan.CopyAllImages}
	if m.Kept {
		choices = *m.Reader.Choices
		choices.SparseManifestListAction, choices.AttachOriginal = plan.KeepSparseManifestList, false
	}
	choices.MissingInstances = plan.SkipMissing
	l := known.Source{Top: m.Own.Top()}
	var err error
	if l.Tree, err = plan.ParseTree(l.Top, l.Top.Digest, nil); err != nil {
		return nil, err
	}
	if l.Top.IsList() {
		if l, err = m.Reader.Lists(ctx, l); err != nil {
			return nil, err
		}
	}
	lacks := slices.Sorted(maps.Keys(l.Missing))
	p, err := plan.New(plan.Input{Top: l.Top, Digest: l.Top.Digest, Tree: l.Tree, Missing: known.Keys(l.Missing), Choices: choices})
	_, unmatched := errors.AsType[*plan.NoMatchError](err)
	_, required := errors.AsType[*plan.RequiredError](err)
	switch {
	case (unmatched || required) && len(lacks) > 0: // what was selected is named by a list that is lost
		return lacks, nil
	case err != nil:
		return nil, err
	}
	if m.Kept && fingerprint(p, l) == m.Wanted {
		lacks = nil // nothing was selected of these lists
	}
	if m.Blobs {
		more, err := m.lacksAny(ctx, p)
		return append(lacks, more...), err
	}
	if p.List == nil { // it was read
		return lacks, nil
	}
	absent, err := m.Asks.Absent(ctx, p.Wanted())
	return append(lacks, absent...), err
}

// lacksAny returns what is wrong of the plan's images at the destination, blobs included.
func (m Mirror) lacksAny(ctx context.Context, p *plan.Plan) ([]digest.Digest, error) {
	want := inspect.Want{Digest: p.Digest, IsList: p.List != nil, Images: p.Names(), Blobs: work.Entries(p)}
	found, err := inspect.Verify(ctx, m.Own, m.Own, want, inspect.Options{Limit: m.Asks.Budget})
	if err != nil {
		return nil, err
	}
	var lacks []digest.Digest
	for _, v := range found.Violations {
		lacks = append(lacks, v.Digest)
	}
	return lacks, nil
}
