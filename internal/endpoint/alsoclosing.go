package endpoint

import "errors"

// AlsoClosing returns the error of a copy after which a source or destination cannot be closed
// either. It unwraps to err, the copy's, alone: programs follow Unwrap. errors.Is and errors.As
// find closing, too.
func AlsoClosing(err, closing error) error { return &alsoClosing{err, closing} }

type alsoClosing struct{ err, closing error }

func (e *alsoClosing) Error() string        { return e.err.Error() + "\n" + e.closing.Error() }
func (e *alsoClosing) Unwrap() error        { return e.err }
func (e *alsoClosing) Is(target error) bool { return errors.Is(e.closing, target) }
func (e *alsoClosing) As(target any) bool   { return errors.As(e.closing, target) }
