package copy

import (
	"github.com/sparsecopy/sparsecopy/copy/internal/failure"
	"github.com/sparsecopy/sparsecopy/internal/attach"
	"github.com/sparsecopy/sparsecopy/internal/endpoint"
	"github.com/sparsecopy/sparsecopy/internal/policy"
)

// Side is the end of a copy at which something happened.
type Side = failure.Side

// The two ends of a copy, and Options.ReferrersFrom.
const (
	SourceSide      = failure.SourceSide
	DestinationSide = failure.DestinationSide
	ReferrersSide   = failure.ReferrersSide
)

// Error says which operation failed (Op, such as "reading manifest"), at which Side, on which
// Object (a digest, or the reference). Image, Prepare and Execute wrap every failure of an end in
// one; its cause, Err, is found with errors.As and errors.Is.
type Error = failure.Error

// RegistryError is a registry's refusal with every error of its answer. It is found in the errors
// of this package with errors.As, wherever the registry's own words are known. It unwraps to what
// upstream returns for such an answer.
type RegistryError = endpoint.RegistryError

// RegistryErrorDetail is one error of a RegistryError.
type RegistryErrorDetail = endpoint.RegistryErrorDetail

// SubjectError says that the destination takes no manifest or list whose subject it does not have,
// as GitLab does, and that this copy does not bring the subject: it is not selected, or, with
// Options.KeepVoid, it is a list that changes. The destination's reference names what it named
// before. Copy the subject to the same repository first, or do without what refers to it.
type SubjectError = attach.SubjectError

// AttachmentError says that the destination refuses something that is attached to what is copied.
// Some registries know a few artifact types only, or want other subjects. The destination's
// reference names what it named before, unless it is a digest. Leave out what the destination does
// not take by Options.ReferrerTypes, or do without referrers or digest tags.
type AttachmentError = attach.RefusedError

// OriginalRefusedError says that the destination takes an artifact of Options.AttachOriginal
// neither as it is nor, once more, as a plain image. The destination's reference names what it
// named before, unless it is a digest. Copy to another registry, or do without AttachOriginal: a
// list that is signed is not stripped then, unless RemoveListSignatures asks for it.
type OriginalRefusedError = attach.OriginalRefusedError

// AttachmentLimitError says that more is attached to what is copied than this package is willing to
// hold. Nothing has been written. The source is hostile or broken; narrow ReferrerTypes, or do
// without.
type AttachmentLimitError = attach.LimitError

// TagListError says that the tags of a repository cannot be listed, by which AllDigestTags finds
// digest tags: a registry refuses, or its list lacks a tag that is there, as that of a cache may.
// Nothing has been written. Cosign's tags are asked for one by one: do with CosignDigestTags.
type TagListError = attach.TagListError

// RejectedError says that the signature policy rejects an image of the source, or a list that names
// blobs.
type RejectedError = policy.RejectedError

// ChangedError says that the destination is no longer what a plan was made for: it has Found in the
// place of Planned, "" for nothing. Nothing has been written. Prepare again.
type ChangedError = failure.ChangedError

// DamagedError says that the destination lacks something (Lacks) that an earlier copy has left
// there (Options.Earlier), and why it cannot be copied again (Err): the source has lost it, too, or
// the destination goes on handing out other bytes. The destination's reference names what it named
// before. Repair it from a copy elsewhere, or give the mirror another source.
type DamagedError = failure.DamagedError
