package copy

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// Side is the end of a copy at which something happened.
type Side string

// The two ends of a copy.
const (
	SourceSide      Side = "source"
	DestinationSide Side = "destination"
)

// Error says which operation failed, at which side, on which object. Image, Prepare and Execute wrap every failure of an end in
// one; its cause is found with errors.As and errors.Is.
type Error struct {
	Op     string // such as "reading manifest"
	Side   Side
	Object string // a digest, or the reference
	Err    error
}

// opening is the Op of an *Error about an end that cannot be opened.
const opening = "initializing"

func (e *Error) Error() string {
	if e.Op == opening { // programs look for upstream's words
		return fmt.Sprintf("%s %s %s: %v", e.Op, e.Side, e.Object, e.Err)
	}
	return fmt.Sprintf("%s: %s %s: %v", e.Side, e.Op, e.Object, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// RegistryError is a registry's refusal with every error of its answer. It is found in the errors of this package with errors.As,
// wherever the registry's own words are known. It unwraps to what upstream returns for such an answer.
type RegistryError = endpoint.RegistryError

// RegistryErrorDetail is one error of a RegistryError.
type RegistryErrorDetail = endpoint.RegistryErrorDetail

// LimitError says that the tree of lists at the source is deeper or larger than this package is willing to hold. The source is
// hostile or broken; there is nothing to adjust.
type LimitError = listtree.LimitError

// NoMatchError says that selectors match nothing in the source. Nothing has been written.
// Correct the selectors, or move platforms that may be absent to Options.OptionalPlatforms, unless nothing else is selected.
type NoMatchError struct {
	Asked   []string // the selectors that match nothing, sorted; excludes are among them if the source is an empty list
	Offered []string // the distinct platforms that the source has, in its order
	Single  bool     // the source is a single image, which is for Offered[0]
}

func (e *NoMatchError) Error() string {
	var platforms, others []string
	for _, s := range e.Asked {
		if _, err := digest.Parse(s); err == nil || strings.HasPrefix(s, "position ") {
			others = append(others, s)
		} else {
			platforms = append(platforms, s)
		}
	}
	var parts []string
	if len(platforms) > 0 {
		parts = append(parts, "no instances found for platform "+joinAnd(platforms)) // programs look for upstream's words
	}
	if len(others) > 0 {
		parts = append(parts, "no instance matches "+joinAnd(others))
	}
	return fmt.Sprintf("%s; the source has %s", strings.Join(parts, ", and "), someOf(e.Offered))
}

// EmptyError says that nothing would be left: no entry of the list under Strip, or no instance to copy because all that were
// selected are missing, or because the source's own list is empty, which only CopyAllImages copies. Nothing has been written.
// Select something that the source has.
type EmptyError struct {
	Entries int // of the list at the source
	Missing int // selected ones that are missing
}

func (e *EmptyError) Error() string {
	switch {
	case e.Missing == 1:
		return "nothing left to copy: the only selected instance is missing at the source"
	case e.Missing > 0:
		return fmt.Sprintf("nothing left to copy: all %d selected instances are missing at the source", e.Missing)
	case e.Entries == 0:
		return "nothing to copy: the list is empty"
	}
	return fmt.Sprintf("nothing left to copy: none of the list's %d entries is selected", e.Entries)
}

// CannotModifyError says that a list would have to change, or that an image is not the one that the destination names, and why that
// must not be. Nothing has been written.
// Lift the reason (RemoveListSignatures, PreserveDigests, the digest in the destination), or keep the list.
type CannotModifyError struct {
	List   digest.Digest
	Reason string
}

func (e *CannotModifyError) Error() string {
	return fmt.Sprintf("list %s must not be changed: %s", e.List, e.Reason)
}

// RequiredError says that required platforms would not be at the destination. Nothing has been written.
// Select them, or find out why the source lacks them.
type RequiredError struct {
	Failed   []RequiredPlatform
	Required []string // all the requirements
}

// A RequiredPlatform is a requirement that is not met.
type RequiredPlatform struct {
	Platform string        // as required
	Digest   digest.Digest // of the instance, "" if none is listed
	Reason   string        // "not in the list", "not selected", "missing at the source", or what a single image is for
}

func (e *RequiredError) Error() string {
	failed := make([]string, len(e.Failed))
	for i, f := range e.Failed {
		failed[i] = fmt.Sprintf("%s: %s", f.Platform, f.Reason)
		if f.Digest != "" {
			failed[i] += fmt.Sprintf(" (%s)", f.Digest)
		}
	}
	return fmt.Sprintf("required platform %s (required: %s)", strings.Join(failed, "; "), someOf(e.Required))
}

// MissingError says that selected instances are missing at the source: it lists them and definitely does not have them. Nothing has
// been written.
// Repair the source, select less, or copy what is there with Options.MissingInstances = SkipMissing.
type MissingError struct {
	Missing []MissingInstance
	// Err is what the source said about the first of them; nil from NewPlan.
	Err error
}

// A MissingInstance is an instance that a list names and the source does not have.
type MissingInstance struct {
	Digest digest.Digest
	// Platform is what the list states; for attestations, that is "unknown/unknown".
	Platform string
	// AttestationOf is the platform of what it describes, or its digest if the list does not name that; "" if it is no attestation.
	AttestationOf string
}

// String names the instance for people.
func (m MissingInstance) String() string {
	if m.AttestationOf != "" {
		return fmt.Sprintf("%s (attestation of %s)", m.Digest, m.AttestationOf)
	}
	return fmt.Sprintf("%s (%s)", m.Digest, m.Platform)
}

// missingInstance describes an entry of a list, the others of which are instances.
func missingInstance(instance manifest.Instance, instances []manifest.Instance) MissingInstance {
	m := MissingInstance{Digest: instance.Digest, Platform: platform.Format(instance.Platform)}
	subject, ok := instance.AttestationOf()
	if !ok {
		return m
	}
	m.AttestationOf = short(subject)
	for _, other := range instances {
		if other.Digest == subject {
			m.AttestationOf = platform.Format(other.Platform)
			break
		}
	}
	return m
}

func (e *MissingError) Error() string {
	missing := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		missing[i] = m.String()
	}
	return fmt.Sprintf("missing at the source: %s", someOf(missing))
}

func (e *MissingError) Unwrap() error { return e.Err }

// SparseRefusedError says that the destination refuses a sparse list, and that stripping it was not asked for, or is not
// allowed. Its reference names what it named before.
// Strip, use Auto, lift what forbids stripping, or copy everything; if that is refused too where Unclear is set, it is for another reason.
type SparseRefusedError struct {
	List digest.Digest
	// Absent are children that the list names and the destination does not have.
	Absent []digest.Digest
	// Refusal is the registry's answer, or what it announced.
	Refusal error
	// Unclear is set if the answer does not say that it is for the absent children, which it may be. Auto finds out; Keep does not, and
	// nothing was tried.
	Unclear bool
	// StrippedRefusal is its answer to the stripped list, if that was tried.
	StrippedRefusal error
	// NotStripped says why the list was not stripped, "" if that was tried.
	NotStripped string
}

func (e *SparseRefusedError) Error() string {
	msg := fmt.Sprintf("the destination refuses the sparse list %s: %v", e.List, e.Refusal)
	if e.Unclear {
		msg += fmt.Sprintf(" (which may be because it is sparse: %s)", count(len(e.Absent), "child is absent", "children are absent"))
	}
	if e.StrippedRefusal != nil {
		msg += fmt.Sprintf("; it refuses the stripped list too: %v", e.StrippedRefusal)
	}
	if e.NotStripped != "" {
		msg += "; not stripped: " + e.NotStripped
	}
	return msg
}

// Unwrap returns the registry's answers.
func (e *SparseRefusedError) Unwrap() []error {
	if e.StrippedRefusal != nil {
		return []error{e.Refusal, e.StrippedRefusal}
	}
	return []error{e.Refusal}
}

// SubjectError says that the destination takes no manifest or list whose subject it does not have, as GitLab does, and that this
// copy does not bring the subject: it is not selected, or, with Options.KeepVoid, it is a list that changes. The destination's reference names
// what it named before. Copy the subject to the same repository first, or do without what refers to it.
type SubjectError struct {
	Digest  digest.Digest // of what was refused
	Subject digest.Digest
	Refusal error // the registry's answer
}

func (e *SubjectError) Error() string {
	return fmt.Sprintf("%s refers to the subject %s, which the destination wants to have first, and which is not copied: %v", e.Digest, e.Subject, e.Refusal)
}

func (e *SubjectError) Unwrap() error { return e.Refusal }

// AttachmentError says that the destination refuses something that is attached to what is copied. Some registries know a few artifact
// types only, or want other subjects. The destination's reference names what it named before, unless it is a digest.
// Leave out what the destination does not take by Options.ReferrerTypes, or do without referrers or digest tags.
type AttachmentError struct {
	Digest       digest.Digest // of what was refused
	ArtifactType string        // "" if it has none
	Subject      digest.Digest // that it is attached to
	Refusal      error         // the registry's answer
}

func (e *AttachmentError) Error() string {
	what := e.Digest.String()
	if e.ArtifactType != "" {
		what += " (" + e.ArtifactType + ")"
	}
	return fmt.Sprintf("the destination refuses %s, which is attached to %s: %v; ReferrerTypes leaves out referrers of other types", what, e.Subject, e.Refusal)
}

func (e *AttachmentError) Unwrap() error { return e.Refusal }

// RejectedError says that the signature policy rejects an image of the source. Nothing of that image has been read but its manifest.
// The cause is the policy's own error.
type RejectedError struct {
	Digest digest.Digest
	Err    error
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("Source image rejected: %v (%s)", e.Err, e.Digest)
}

func (e *RejectedError) Unwrap() error { return e.Err }

// ChangedError says that the destination is no longer what a plan was made for. Nothing has been written.
// Prepare again.
type ChangedError struct {
	Side    Side
	Planned digest.Digest // "" if there was nothing
	Found   digest.Digest // "" if there is nothing
}

func (e *ChangedError) Error() string {
	name := func(d digest.Digest) string { return cmp.Or(d.String(), "nothing") }
	return fmt.Sprintf("%s has changed since it was planned: %s was there, now %s", e.Side, name(e.Planned), name(e.Found))
}

// shownAtMost is how many elements of a list an error shows: lists come from strangers.
const shownAtMost = 40

// someOf joins the elements of s for people, not too many of them.
func someOf(s []string) string {
	switch {
	case len(s) == 0:
		return "nothing"
	case len(s) > shownAtMost:
		return fmt.Sprintf("%s and %d more", strings.Join(s[:shownAtMost], ", "), len(s)-shownAtMost)
	}
	return strings.Join(s, ", ")
}

func joinAnd(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}
