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

// OriginalRefusedError says that a destination takes an artifact that carries the original of a
// list, or a signature of that, neither as it is nor as a plain image.
type OriginalRefusedError struct {
	Digest       digest.Digest // of the artifact
	ArtifactType string
	List         digest.Digest // that it is attached to
	Refusal      error         // the registry's answer to the artifact
	PlainRefusal error         // and to the plain image
}

func (e *OriginalRefusedError) Error() string {
	return fmt.Sprintf("the original of the list %s cannot be attached to it: %s (%s) is refused: %v; so is the same as a plain image: %v; "+
		"without AttachOriginal, nobody can check the list, and a signed one is not stripped", e.List, e.Digest, e.ArtifactType, e.Refusal, e.PlainRefusal)
}

func (e *OriginalRefusedError) Unwrap() []error { return []error{e.Refusal, e.PlainRefusal} }
