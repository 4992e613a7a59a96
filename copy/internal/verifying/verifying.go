// Package verifying holds a destination against what a copy would make of it (verifying.go), or,
// where its source is gone, against what it names itself (orphan.go).
//
// It looks at nothing itself: package inspect does. What should be there is said by plans, which
// package copy makes.
package verifying

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/sparsecopy/sparsecopy/copy/internal/expected"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/inspect"
)

// A Copy is one whose work is verified. Its functions return the errors of package copy.
type Copy struct {
	Source, Destination string          // what the ends are called for people
	Options             inspect.Options // without Manifest and Blob; its Limit is for what no plan says
	Orphans             bool            // what has outlived its source is verified, too

	// Prepare plans it. With compare, the destination is asked what it has.
	Prepare func(ctx context.Context, compare bool) (*Prepared, error)
	// PrepareOwn plans a copy of what the destination has onto itself, which changes nothing. What
	// it lacks means what missing says.
	PrepareOwn func(ctx context.Context, missing plan.MissingInstanceAction) (*Prepared, error)
	// OpenSource and OpenDestination open what the references name, for reading.
	OpenSource, OpenDestination func(context.Context) (endpoint.SizedSource, error)
}

// A Prepared copy is planned and not executed. Its source is open until Close.
type Prepared struct {
	Plan    *plan.Plan
	Choices *plan.Choices // that it was made of
	Source  endpoint.SizedSource
	// Manifest and Blob are those of inspect.Options.
	Manifest func(context.Context, digest.Digest) (endpoint.Document, error)
	Blob     func(owner digest.Digest, b endpoint.Blob) endpoint.Opener
	Limit    *semaphore.Weighted // of what is in flight
	Close    func() error
}

// Verify verifies what c leaves. What is wrong with the destination is a violation; errors are
// those of c's functions, or say what could not be asked, or foreseen.
func Verify(ctx context.Context, c Copy) (*inspect.Verification, error) {
	prepared, err := c.Prepare(ctx, false)                 // what is there is looked at afterwards
	if err == nil && len(prepared.Plan.Transforms()) > 0 { // what is remembered of that counts if the destination has it
		_ = prepared.Close() // nothing was written
		prepared, err = c.Prepare(ctx, true)
	}
	switch {
	case c.Orphans && sourceLacks(err):
		return c.orphan(ctx, err)
	case err != nil:
		return nil, err
	}
	defer func() { _ = prepared.Close() }() // nothing was written
	return c.against(ctx, prepared)
}

// against holds the destination against a plan.
func (c *Copy) against(ctx context.Context, prepared *Prepared) (*inspect.Verification, error) {
	p := prepared.Plan
	switch transforms := p.Transforms(); {
	case p.Way != plan.Native:
		return nil, fmt.Errorf("what the destination should be cannot be told beforehand: %s", p.WayReason)
	case len(transforms) > 0:
		return nil, fmt.Errorf("what the destination should be cannot be told beforehand: %s is transformed, and no result that the destination has is remembered: %s", transforms[0].Digest, transforms[0].Reason)
	}
	dst, err := orNil(c.OpenDestination(ctx))
	if err != nil {
		return nil, err
	}
	if dst != nil {
		defer dst.Close()
	}
	o := c.Options
	o.Manifest, o.Blob, o.Limit = prepared.Manifest, prepared.Blob, prepared.Limit
	v, err := inspect.Verify(ctx, dst, prepared.Source, expected.Of(p, prepared.Choices), o)
	if err != nil {
		return nil, failure.Reading(err)
	}
	v.Source, v.Destination = c.Source, c.Destination
	v.Warnings = slices.Sorted(slices.Values(slices.Concat(v.Warnings, p.Warnings, expected.LeftOut(p))))
	return v, nil
}

// orNil returns nil for an end whose reference names nothing.
func orNil(end endpoint.SizedSource, err error) (endpoint.SizedSource, error) {
	if errors.Is(err, endpoint.ErrNotFound) {
		return nil, nil
	}
	return end, err
}
