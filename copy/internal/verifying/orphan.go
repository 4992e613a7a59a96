package verifying

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/expected"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
)

// sourceLacks reports whether err says that a source definitely lacks what its reference names, or
// images that are wanted of it.
func sourceLacks(err error) bool {
	var missing *plan.MissingError
	var failed *failure.Error
	return errors.As(err, &missing) ||
		errors.As(err, &failed) && failed.Op == failure.Opening && failed.Side == failure.SourceSide && errors.Is(err, endpoint.ErrNotFound)
}

// orphan holds the destination against what it names itself. lack says what its source lacks.
func (c *Copy) orphan(ctx context.Context, lack error) (*inspect.Verification, error) {
	src, err := orNil(c.OpenSource(ctx))
	if err != nil {
		return nil, err
	}
	o := c.Options
	if src != nil {
		defer src.Close() // nothing was written
		o.Manifest, o.Blob = endpoint.ReadPresent(src), blobsOf(src)
	}
	dst, err := orNil(c.OpenDestination(ctx))
	if err == nil && dst == nil && src != nil {
		return nil, lack // the mirror was never made, or is gone with what it might be held against
	}
	var want inspect.Want
	if dst != nil {
		defer dst.Close()
		want, err = c.wantOfItself(ctx, dst.Top())
	}
	if err != nil {
		return nil, fmt.Errorf("%w; and of what the destination has: %w", lack, err)
	}
	v, err := inspect.Verify(ctx, dst, dst, want, o)
	if err != nil {
		return nil, failure.Reading(err)
	}
	v.Source, v.Destination, v.Orphaned = c.Source, c.Destination, lack.Error()
	return v, nil
}

func blobsOf(src endpoint.Source) func(digest.Digest, endpoint.Blob) endpoint.Opener {
	return func(_ digest.Digest, b endpoint.Blob) endpoint.Opener {
		return func(ctx context.Context) (io.ReadCloser, error) { return src.Blob(ctx, b) }
	}
}

// wantOfItself is what should be at the destination by what it names itself, what it lacks
// included.
func (c *Copy) wantOfItself(ctx context.Context, top endpoint.Document) (inspect.Want, error) {
	want, err := c.wantOfOwn(ctx, plan.FailOnMissing)
	missing, lacks := errors.AsType[*plan.MissingError](err)
	if !lacks {
		return want, err
	}
	want, err = c.wantOfOwn(ctx, plan.SkipMissing)
	if _, all := errors.AsType[*plan.EmptyError](err); all {
		want, err = inspect.Want{Digest: top.Digest, IsList: true, Images: map[digest.Digest]string{}}, nil
	}
	if err != nil {
		return want, err
	}
	for _, m := range missing.Missing {
		want.Images[m.Digest] = m.What()
		want.Carried = append(want.Carried, m.Digest)
	}
	return want, nil
}

// wantOfOwn is what should be at the destination by the plan of a copy onto itself.
func (c *Copy) wantOfOwn(ctx context.Context, missing plan.MissingInstanceAction) (inspect.Want, error) {
	prepared, err := c.PrepareOwn(ctx, missing)
	if failed, ok := errors.AsType[*failure.Error](err); ok {
		failed.Side = failure.DestinationSide
	}
	if err != nil {
		return inspect.Want{}, err
	}
	defer func() { _ = prepared.Close() }() // nothing was written
	if p := prepared.Plan; p.Way != plan.Native {
		return inspect.Want{}, errors.New(p.WayReason)
	}
	return expected.Of(prepared.Plan, prepared.Choices), nil
}
