package earlier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/internal/asking"
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/copy/internal/known"
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/prose"
)

// Left is what an earlier copy has left, as copy.Earlier says.
type Left struct {
	Source, Destination, Wanted digest.Digest
	Verified                    time.Time
}

// A Copy tells what its destination has lost since an earlier copy. What the source does not have
// any more either is damage: the errors of its methods are *failure.DamagedErrors, or say why
// nobody knows.
type Copy struct {
	Left Left // zero for nothing known
	Asks asking.Destination
}

// hadAll reports whether the destination had all that is wanted of what the source names, and
// nobody else has made its reference name something else since.
func (c Copy) hadAll(source known.Source, there known.Destination) bool {
	return c.Left.Wanted != "" && c.Left.Source == source.Top.Digest &&
		there.TopKnown && (there.Top == "" || there.Top == c.Left.Destination)
}

func (c Copy) damage(err error, lacks ...digest.Digest) error {
	return &failure.DamagedError{Destination: c.Asks.Name, Lacks: lacks, Err: err}
}

// CheckLost fails if the destination has lost what a plan leaves out because it is missing at the
// source by now.
func (c Copy) CheckLost(ctx context.Context, p *plan.Plan, source known.Source, there known.Destination) error {
	missing := missingOf(p)
	if len(missing) == 0 || !c.hadAll(source, there) {
		return nil
	}
	lacks, err := c.Asks.Absent(ctx, missing)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return c.damage(cmp.Or(source.Missing[lacks[0]], endpoint.ErrNotFound), lacks...)
}

// Damaged returns err, with which the copy of a plan has failed, as damage if it says that the
// source does not have something any more that the destination had, and has lost. p is nil if there
// was no plan.
func (c Copy) Damaged(ctx context.Context, p *plan.Plan, source known.Source, there known.Destination, err error) error {
	lost := failure.NotAtSource(err)
	if len(lost) == 0 || !c.hadAll(source, there) {
		return err
	}
	if p != nil && len(p.Attached) > 0 && Wanted(p, source) != c.Left.Wanted { // it may be what is attached since
		return err
	}
	lacks, unasked := c.Asks.Absent(ctx, lost)
	if unasked != nil || len(lacks) == 0 {
		return err
	}
	return c.damage(err, lacks...)
}

// Mended fails if the destination goes on handing out something else than it says that its
// reference names, although that has been stored again.
func (c Copy) Mended(ctx context.Context, p *plan.Plan, there known.Destination) error {
	if there.Spoilt == nil {
		return nil
	}
	if _, _, spoilt := c.Asks.Read(ctx); spoilt != nil {
		return c.damage(spoilt, p.Digest)
	}
	return nil
}

// Survives returns nil if the destination still has all lists and images that an earlier copy has
// left there; what is attached to them is not looked for. The source is gone, as gone says. open
// opens the destination for reading, and mirror looks at it.
func (c Copy) Survives(ctx context.Context, gone error, open func() (endpoint.SizedSource, error), mirror Mirror) error {
	if c.Left.Destination == "" || !errors.Is(gone, endpoint.ErrNotFound) {
		return gone
	}
	own, err := open()
	if _, mismatch := errors.AsType[*endpoint.MismatchError](err); mismatch || errors.Is(err, endpoint.ErrNotFound) {
		return c.damage(gone, c.Left.Destination)
	}
	if err != nil {
		return fmt.Errorf("%w (and what the destination has could not be read: %v)", gone, err) //nolint:errorlint // one cause
	}
	defer own.Close() // nothing was written
	if own.Top().Digest != c.Left.Destination {
		return gone // somebody else looks after it
	}
	mirror.Reader.Source, mirror.Own, mirror.Asks = own, own, c.Asks
	mirror.Kept, mirror.Wanted = c.Left.Source == c.Left.Destination, c.Left.Wanted
	switch lacks, err := mirror.Lacks(ctx); {
	case err != nil:
		return fmt.Errorf("%w (and what the destination has could not be looked at: %v)", gone, err) //nolint:errorlint // one cause
	case len(lacks) > 0 && c.Left.Wanted == "": // some of it may have been missing, or left out, from the start
		return fmt.Errorf("%w (and whether it lacks anything that an earlier copy has left is not known: it lacks %s)", gone, prose.Some(prose.Digests(lacks)))
	case len(lacks) > 0:
		return c.damage(gone, lacks...)
	}
	return nil
}
