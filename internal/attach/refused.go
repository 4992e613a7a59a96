package attach

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// SubjectError says that a destination takes no manifest or list whose subject it does not have, as
// GitLab does, and that nobody brings the subject.
type SubjectError struct {
	Digest  digest.Digest // of what was refused
	Subject digest.Digest
	Refusal error // the registry's answer
}

func (e *SubjectError) Error() string {
	return fmt.Sprintf("%s refers to the subject %s, which the destination wants to have first, and which is not copied: %v", e.Digest, e.Subject, e.Refusal)
}

func (e *SubjectError) Unwrap() error { return e.Refusal }

// RefusedError says that a destination refuses something that is attached.
type RefusedError struct {
	Digest       digest.Digest // of what was refused
	ArtifactType string        // "" if it has none
	Subject      digest.Digest // that it is attached to
	Refusal      error         // the registry's answer
}

func (e *RefusedError) Error() string {
	what := e.Digest.String()
	if e.ArtifactType != "" {
		what += " (" + e.ArtifactType + ")"
	}
	return fmt.Sprintf("%s, which is attached to %s, is refused: %v; ReferrerTypes leaves out referrers of other types", what, e.Subject, e.Refusal)
}

func (e *RefusedError) Unwrap() error { return e.Refusal }
