// Package failure has the errors of a copy that say where something failed, and puts those of the
// packages below into these words.
package failure

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Side is the end of a copy at which something happened.
type Side string

// The two ends of a copy, and Options.ReferrersFrom.
const (
	SourceSide      Side = "source"
	DestinationSide Side = "destination"
	ReferrersSide   Side = "referrers source"
)

// Error says which operation failed, at which side, on which object. Image, Prepare and Execute
// wrap every failure of an end in one; its cause is found with errors.As and errors.Is.
type Error struct {
	Op     string // such as "reading manifest"
	Side   Side
	Object string // a digest, or the reference
	Err    error
}

// Opening is the Op of an *Error about an end that cannot be opened.
const Opening = "initializing"

// ReadingConfig is the Op of an *Error about a config of which only the platform is wanted.
const ReadingConfig = "reading config"

func (e *Error) Error() string {
	if e.Op == Opening { // programs look for upstream's words
		return fmt.Sprintf("%s %s %s: %v", e.Op, e.Side, e.Object, e.Err)
	}
	return fmt.Sprintf("%s: %s %s: %v", e.Side, e.Op, e.Object, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// New returns an *Error.
func New(op string, side Side, object string, err error) *Error {
	return &Error{Op: op, Side: side, Object: object, Err: err}
}

// ChangedError says that the destination is no longer what a plan was made for. Nothing has been
// written. Prepare again.
type ChangedError struct {
	Side    Side
	Planned digest.Digest // "" if there was nothing
	Found   digest.Digest // "" if there is nothing
}

func (e *ChangedError) Error() string {
	name := func(d digest.Digest) string { return cmp.Or(d.String(), "nothing") }
	return fmt.Sprintf("%s has changed since it was planned: %s was there, now %s", e.Side, name(e.Planned), name(e.Found))
}
