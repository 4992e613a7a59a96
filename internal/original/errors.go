package original

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// What can be wrong with an artifact.
var (
	// ErrOther says that a manifest is not what was to be read.
	ErrOther = errors.New("it is something else")
	// ErrMalformed says that an artifact is not as this package makes them.
	ErrMalformed = errors.New("malformed")
	// ErrAltered says that content is not what its descriptor says.
	ErrAltered = errors.New("altered")
	// ErrTooLarge says that something is larger than this package is willing to hold.
	ErrTooLarge = errors.New("too large")
)

// An Error says what is wrong with an artifact or a signature.
type Error struct {
	What   string        // "artifact" or "signature"
	Digest digest.Digest // of its manifest, or of a signature without one
	Reason string        // for people; "" if Err says it all
	Err    error         // one of this package's, or what kept a blob from being read
}

func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Reason != "" {
		text = fmt.Sprintf("%s: %s", text, e.Reason)
	}
	return fmt.Sprintf("%s %s: %s", e.What, e.Digest, text)
}

func (e *Error) Unwrap() error { return e.Err }
