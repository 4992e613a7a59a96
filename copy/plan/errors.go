package plan

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/internal/listtree"
	"github.com/sparsecopy/sparsecopy/internal/platform"
	"github.com/sparsecopy/sparsecopy/internal/prose"
	"github.com/sparsecopy/sparsecopy/internal/relation"
)

// OptionsError says that options are invalid by themselves, together, or for what is to be copied,
// or where to. Nothing has been written.
// Correct the call.
type OptionsError struct {
	Options []string // names of the fields
	Reason  string
}

func (e *OptionsError) Error() string {
	return fmt.Sprintf("invalid options: %s: %s", prose.And(e.Options), e.Reason)
}

// UnreadError says that nested lists were not given to New.
type UnreadError struct {
	Lists []digest.Digest
}

func (e *UnreadError) Error() string {
	return fmt.Sprintf("nested lists were not read: %s", prose.Some(prose.Digests(e.Lists)))
}

// LimitError says that the tree of lists at the source is deeper or larger than this package is
// willing to hold. The source is hostile or broken; there is nothing to adjust.
type LimitError = listtree.LimitError

// NoMatchError says that selectors match nothing in the source. Nothing has been written.
// Correct the selectors, or move platforms that may be absent to Options.OptionalPlatforms, unless
// nothing else is selected.
type NoMatchError struct {
	// Asked are the selectors that match nothing, sorted. Excludes are among them if the source is
	// an empty list.
	Asked   []string
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
		// Programs look for upstream's words.
		parts = append(parts, "no instances found for platform "+prose.And(platforms))
	}
	if len(others) > 0 {
		parts = append(parts, "no instance matches "+prose.And(others))
	}
	return fmt.Sprintf("%s; the source has %s", strings.Join(parts, ", and "), prose.Some(e.Offered))
}

// EmptyError says that nothing would be left: no entry of the list under Strip, or no instance to
// copy because all that were selected are missing, or because the source's own list is empty, which
// only CopyAllImages copies. Nothing has been written. Select something that the source has.
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

// CannotModifyError says that a list or an image would have to change, or that an image is not the
// one that the destination names, and why that must not be. Nothing has been written.
// Lift the reason (RemoveListSignatures, PreserveDigests, the digest in the destination), or keep
// the list.
type CannotModifyError struct {
	List   digest.Digest
	Reason string
}

func (e *CannotModifyError) Error() string {
	return fmt.Sprintf("list %s must not be changed: %s", e.List, e.Reason)
}

// RequiredError says that required platforms would not be at the destination. Nothing has been
// written.
// Select them, or find out why the source lacks them.
type RequiredError struct {
	Failed   []RequiredPlatform
	Required []string // all the requirements
}

// A RequiredPlatform is a requirement that is not met.
type RequiredPlatform struct {
	Platform string        // as required
	Digest   digest.Digest // of the instance, "" if none is listed
	// Reason is "not in the list", "not selected", "missing at the source", or what a single image
	// is for.
	Reason string
}

func (e *RequiredError) Error() string {
	failed := make([]string, len(e.Failed))
	for i, f := range e.Failed {
		failed[i] = fmt.Sprintf("%s: %s", f.Platform, f.Reason)
		if f.Digest != "" {
			failed[i] += fmt.Sprintf(" (%s)", f.Digest)
		}
	}
	return fmt.Sprintf("required platform %s (required: %s)", strings.Join(failed, "; "), prose.Some(e.Required))
}

// MissingError says that selected instances are missing at the source: it lists them and definitely
// does not have them. Nothing has been written.
// Repair the source, select less, or copy what is there with Options.MissingInstances =
// SkipMissing.
type MissingError struct {
	Missing []MissingInstance
	// Err is what the source said about the first of them; nil from New.
	Err error
}

// A MissingInstance is an instance that a list names and the source does not have.
type MissingInstance struct {
	Digest digest.Digest
	// Platform is what the list states; for attestations, that is "unknown/unknown". Of a blob, it
	// is what the blob is: "cache layer".
	Platform string
	// AttestationOf is the platform of what it describes, or its digest if the list does not name
	// that; "" if it is no attestation.
	AttestationOf string
	// Kind is what people call it if it describes or accelerates another instance ("attestation",
	// "SOCI index"); "" if it is an image.
	Kind string
}

// String names the instance for people.
func (m MissingInstance) String() string { return fmt.Sprintf("%s (%s)", m.Digest, m.What()) }

// What says for people what the instance is, as String does without the digest: "linux/arm64",
// "attestation of linux/arm64".
func (m MissingInstance) What() string {
	switch {
	case m.AttestationOf != "":
		return "attestation of " + m.AttestationOf
	case m.Kind != "":
		return m.Kind + " of " + m.Platform
	}
	return m.Platform
}

// missingInstance describes entry i of a list, which has the given tie.
func missingInstance(n *listtree.Node, i int, tie relation.Tie) MissingInstance {
	m := MissingInstance{Digest: n.Instances[i].Digest, Platform: platform.Format(n.Instances[i].Platform)}
	if n.Instances[i].IsBlob() {
		m.Platform = tie.Kind
	}
	if tie.Relation.Follows() {
		m.Kind = tie.Kind
	}
	if tie.Relation != Describes || tie.Named == "" {
		return m
	}
	m.AttestationOf = prose.Short(tie.Named)
	for _, other := range n.Instances {
		if other.Digest == tie.Subject {
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
	return fmt.Sprintf("missing at the source: %s", prose.Some(missing))
}

func (e *MissingError) Unwrap() error { return e.Err }

// SparseRefusedError says that the destination refuses a sparse list, and that stripping it was not
// asked for, or is not allowed. Its reference names what it named before.
// Strip, use Auto, lift what forbids stripping, or copy everything; if that is refused too where
// Unclear is set, it is for another reason.
type SparseRefusedError struct {
	List digest.Digest
	// Absent are children that the list names and the destination does not have.
	Absent []digest.Digest
	// Refusal is the registry's answer, or what it announced.
	Refusal error
	// Unclear is set if the answer does not say that it is for the absent children, which it may
	// be. Auto finds out; Keep does not, and nothing was tried.
	Unclear bool
	// StrippedRefusal is its answer to the stripped list, if that was tried.
	StrippedRefusal error
	// NotStripped says why the list was not stripped, "" if that was tried.
	NotStripped string
}

func (e *SparseRefusedError) Error() string {
	msg := fmt.Sprintf("the destination refuses the sparse list %s: %v", e.List, e.Refusal)
	if e.Unclear {
		msg += fmt.Sprintf(" (which may be because it is sparse: %s)", prose.Count(len(e.Absent), "child is absent", "children are absent"))
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

// BlobsRefusedError says that the destination refuses a list that names blobs in the place of
// manifests, as build caches do. Its reference names what it named before. Nothing can be stripped.
// Let BuildKit export the cache as a manifest (image-manifest=true, its default since 0.21), or
// mirror it to a registry that takes such lists.
type BlobsRefusedError struct {
	List  digest.Digest
	Blobs int // entries that name blobs
	// LeftOut is how many of them were not copied: those that are missing at the source, or
	// elsewhere, which may be the reason.
	LeftOut int
	Refusal error // the registry's answer
}

func (e *BlobsRefusedError) Error() string {
	leftOut := ""
	if e.LeftOut > 0 {
		leftOut = fmt.Sprintf(" (%d of which the copy leaves out)", e.LeftOut)
	}
	return fmt.Sprintf("the destination refuses the list %s, in which %s and no manifest%s, as in a build cache, "+
		"which BuildKit exports as a manifest with --cache-to type=registry,image-manifest=true: %v",
		e.List, prose.Count(e.Blobs, "entry names a blob", "entries name blobs"), leftOut, e.Refusal)
}

// Unwrap returns the registry's answer.
func (e *BlobsRefusedError) Unwrap() error { return e.Refusal }

// WidenError says that a list which the destination has already would get children there that it
// did not have, and that the destination does not keep such: it announces that it takes sparse
// lists, and not that it takes widening, as Quay does, where children belong to a list only if they
// are there when it is first stored, and others are collected after an hour. Nothing has been
// written. Set Options.WidenedChildTags, copy to a repository that does not have the list, or
// choose all platforms in the first place.
type WidenError struct {
	List digest.Digest
	// Children are the images and nested lists that would be added, sorted.
	Children []digest.Digest
	// Basis says how it is known that they would not stay.
	Basis string
}

func (e *WidenError) Error() string {
	return fmt.Sprintf("the destination has the list %s already, and does not keep what is added to it: %s (it lacks %s)",
		e.List, e.Basis, prose.Some(prose.Digests(e.Children)))
}
