package plan

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Input is all that a plan depends on. Maps and slices are not modified. That documents match their
// digests is assumed, not checked.
type Input struct {
	// Source and Destination are names for people.
	Source, Destination string

	// Top is what the source reference names, and Digest its digest; "" means that of Top, or, if
	// that has none, the SHA-256 of its bytes.
	Top    Document
	Digest digest.Digest
	// Documents are the nested lists and manifests that have been read, by digest. Every nested
	// list must be here or in Missing. Manifests may be left out: then their blobs are not counted,
	// and attestations whose entries have no annotations are not known as such (see Tree.ToRead).
	Documents map[digest.Digest]Document
	// Missing are the instances that the source definitely does not have.
	Missing map[digest.Digest]bool
	// Present are the manifests that are known to be at the destination, with everything that they
	// name.
	Present map[digest.Digest]bool
	// Transformed are the results that are known of images that are transformed. Nil for none.
	Transformed map[TransformKey]Document
	// Recalled is what an earlier copy has found out about images of which Transformed has the
	// results, so that they need not be read. Nil for none.
	Recalled map[digest.Digest]Recalled
	// PresentBlobs are the blobs that lists name in the place of manifests and that are known to
	// be at the destination, MissingBlobs those that the source definitely does not have. Nil for
	// none.
	PresentBlobs, MissingBlobs map[digest.Digest]bool
	// Stored are manifests and lists that are known to be at the destination, beside Present,
	// whatever they lack there. Nil for none.
	Stored map[digest.Digest]bool
	// PresenceUnknown are manifests of which the destination did not tell whether it has them: no
	// plan is made as if they were absent there, nor as if they were not. Nil for none.
	PresenceUnknown map[digest.Digest]bool
	// Platform is what the config of a single image says. It is needed if Choices.NeedsPlatform,
	// but for an artifact.
	Platform *imgspecv1.Platform
	// Attachments are the referrers and digest tags that are known, of whatever subjects, and
	// theirs in turn.
	Attachments []Attachment
	// Changed are lists that are not in the tree any more, because an earlier copy has changed
	// them, and to which something may be attached all the same. Nil for none.
	Changed []digest.Digest
	// SignedLists are the numbers of signatures that the lists of the tree have at the source.
	SignedLists map[digest.Digest]int
	// ListSignatures are the signatures that are known to be attached to lists of the tree, beside
	// SignedLists.
	ListSignatures map[digest.Digest]ListSignatures
	// OriginalSignatures are all signatures that the source has for Top, if that is a list, and
	// Choices.AttachOriginal is set: those that SignedLists and ListSignatures count, and others.
	// Each is of Top, or its Of is "".
	OriginalSignatures []OriginalSignature
	// OriginalClaim is the name of the source's repository, without a tag; "" if it has none.
	OriginalClaim string
	// SignaturesUnknown are the lists and images of which the source does not tell whether they are
	// signed. Nil for none.
	SignaturesUnknown map[digest.Digest]bool
	// DestinationDigest is the digest in the destination reference, "" if it has none.
	DestinationDigest digest.Digest
	// DestinationTop is what the destination reference names, "" if nothing, or if that is not
	// known. Under Auto, a list that was stripped stays so.
	DestinationTop digest.Digest
	// Sparse is what is known about the destination's view of sparse lists.
	Sparse SparseSupport
	// System is the instance that CopySystemImage copies.
	System digest.Digest

	// Tree is what Top and Documents say, as parsed. Nil means that New parses them; whoever makes
	// several plans of the same source gives them the same Tree.
	Tree *Tree
	// Way is what decides who does the work. Nil means that it is done natively.
	Way *WayFacts

	// Choices are those of the copy. The zero value has the defaults.
	Choices Choices
}

// A Document is a manifest or a list as bytes. Its Digest matters here only where nothing else says
// it.
type Document = manifest.Document

// SparseSupport says whether a destination accepts sparse lists, as far as that is known. The zero
// value knows nothing.
type SparseSupport struct {
	Known bool
	// Accepts is meaningful only if Known.
	Accepts bool
	// RequiredArchitectures must be there all the same. Only if Accepts.
	RequiredArchitectures []string
	// RequiredPlatforms, as manifest.SparsePolicy has them, must be there besides. Only if Accepts.
	RequiredPlatforms []string
	// RequiresWithoutPlatform says that children must be there whose entry states no architecture.
	// Only if Accepts, and only where anything else is required. Many registries do not tell.
	RequiresWithoutPlatform bool
	// Widens says that children stay which are added to a list that is there. Only if Accepts.
	Widens bool
	// Unanswered says that the destination was asked and did not tell. Only if not Known.
	Unanswered bool
	// Basis says how that is known.
	Basis string
}

// LosesAdded reports whether a destination with this view may lose what is added to a list that it
// has.
func (s SparseSupport) LosesAdded() bool {
	return s.Unanswered || s.Known && s.Accepts && !s.Widens
}

// An Attachment is a manifest or list that belongs to another one without being in a list: a
// referrer, what one of cosign's tags names, or a child of either.
type Attachment struct {
	Subject      digest.Digest
	Digest       digest.Digest
	Size         int64 // in bytes
	MediaType    string
	ArtifactType string
	Annotations  map[string]string
	// Tag names it, "" for a referrer.
	Tag string
	// Child is set if the subject is a list, itself attached, that names it.
	Child bool
	// Elsewhere is set if it is not the source that has it, but Options.ReferrersFrom of package
	// copy.
	Elsewhere bool
	// Present is set if it is known to be at the destination, and known there as what it is: listed
	// as a referrer, unless none can be listed there, or, of what has a tag, all in what the tag
	// names.
	Present bool
}

// ListSignatures are the signatures that are attached to a list, as far as it is known.
type ListSignatures struct {
	// Found names them, by their tags or digests.
	Found []string
	// Unknown says what could not be asked, and why; "" if everything was.
	Unknown string
	// Unanswered is set if whoever would know was asked and did not let us in, or did not answer.
	// Only with Unknown.
	Unanswered bool
}

// normalize fills in what may be left out, and refuses digests that nothing could be compared with.
func (in *Input) normalize() error {
	if in.Digest = cmp.Or(in.Digest, in.Top.Digest); in.Digest == "" {
		in.Digest = digest.FromBytes(in.Top.Bytes)
	}
	if err := in.Digest.Validate(); err != nil {
		return fmt.Errorf("digest of the source %q: %w", in.Digest, err)
	}
	if d := in.DestinationDigest; d != "" {
		if err := d.Validate(); err != nil {
			return fmt.Errorf("digest of the destination %q: %w", d, err)
		}
	}
	in.Top = in.Top.Read()
	return nil
}

// gone reports whether the source does not have what an entry names, and the destination is not
// known to have it.
func (in *Input) gone(instance manifest.Instance) bool {
	if instance.IsBlob() {
		return in.MissingBlobs[instance.Digest] && !in.PresentBlobs[instance.Digest]
	}
	// What the destination has of the source's says nothing if images may be asked to be otherwise.
	carried := instance.IsList() || !transforms(in) || !in.Way.asks(&in.Choices)
	return in.Missing[instance.Digest] && !(carried && in.Present[instance.Digest])
}

// IsStored reports whether a manifest or list is known to be at the destination, whatever it lacks
// there; "", which stands for what is not known yet, is not.
func (in *Input) IsStored(d digest.Digest) bool {
	return d != "" && (in.Present[d] || in.Stored[d] || d == in.DestinationTop)
}

// Parse sees to it that in.Tree has all documents of in, so that plans of in parse nothing again.
// in.Digest must be set. Errors are those of ParseTree.
func (in *Input) Parse() (err error) {
	if in.Tree == nil {
		in.Tree, err = ParseTree(in.Top, in.Digest, in.Documents)
	} else {
		in.Tree, err = in.Tree.With(in.Documents)
	}
	return err
}

// CheckDestination returns a *CannotModifyError if the destination names a digest, and content,
// whose digest is d, is something else.
func (in *Input) CheckDestination(d digest.Digest, content []byte) error {
	want := in.DestinationDigest
	if want == "" || want == d || len(content) > 0 && want == want.Algorithm().FromBytes(content) {
		return nil
	}
	return &CannotModifyError{d, fmt.Sprintf("the destination names the digest %s", want)}
}
