package report

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/copy/plan"
)

// Schema names the JSON form of a Report. The number changes when a reader of the old form would go
// wrong.
const Schema = "sparsecopy.report/v1"

// A Report says what a copy did, in the words of its Plan. It is filled in on errors too, as far as
// the copy came; what was never decided is absent. It must not be read before Image or Execute
// returned.
type Report struct {
	Schema string `json:"schema"` // Schema

	// Plan is what was to be done, nil if the copy failed before.
	Plan *plan.Plan `json:"plan,omitempty"`
	// SourceDigest is what the source named.
	SourceDigest digest.Digest `json:"sourceDigest,omitempty"`
	// DestinationDigest is what the destination names now because of this copy, "" if it failed.
	DestinationDigest digest.Digest `json:"destinationDigest,omitempty"`
	// Action is what became of the list: Keep or Strip. ActionReason says why, as in the Plan.
	Action       plan.SparseManifestListAction `json:"action"`
	ActionReason string                        `json:"actionReason,omitempty"`
	// Refusal is the registry's answer to the list that it refused, "" if there was none.
	Refusal string `json:"refusal,omitempty"`
	// Written is set if the destination's reference was written; it is not when it named the right
	// digest already.
	Written bool `json:"written"`
	// Checked is how much was looked at to find that something is there already.
	Checked CheckLevel `json:"checked,omitempty"`
	// Wanted is a fingerprint of everything that the options want at the destination, which has it
	// now: what an Earlier of the next copy says. "" if the copy failed, and where the same source
	// may lead to something else the next time: images were transformed, something is missing at
	// the source, new signatures are always made, or the work went to upstream's copy.
	Wanted digest.Digest `json:"wanted,omitempty"`
	// VerifiedAt is when the destination was last asked for the children of what it names, or got
	// them; by an earlier copy, if Checked is CheckedEarlier. Zero if that is not known.
	VerifiedAt time.Time `json:"verifiedAt,omitzero"`

	// Instances are those of all lists, parents before what is nested in them; or the single image.
	Instances []InstanceReport `json:"instances,omitempty"`

	// Attached are the referrers and digest tags that were found.
	Attached []AttachedReport `json:"attached,omitempty"`

	// Original is what was attached of a list that changed, nil if nothing was asked for, or the
	// list stays as it is.
	Original *OriginalReport `json:"original,omitempty"`

	// Vouched says what the keys of a copy that attaches originals did, nil if it has none, or has
	// not come so far.
	Vouched *VouchedReport `json:"vouched,omitempty"`

	// BlobsCopied were moved, BytesCopied in all; BlobsReused were at the destination already.
	BlobsCopied int   `json:"blobsCopied"`
	BytesCopied int64 `json:"bytesCopied"`
	BlobsReused int   `json:"blobsReused"`
	// ManifestsCopied are the manifests and lists written, the one that the reference names
	// included.
	ManifestsCopied int `json:"manifestsCopied"`
	// SignaturesCopied are those of the source that were stored, of images and lists, as
	// registries.d says; those that are attached are in Attached.
	SignaturesCopied int `json:"signaturesCopied,omitempty"`
	// SignaturesMade are the new signatures that were stored. Nobody counts them where the work
	// goes to upstream's copy.
	SignaturesMade int `json:"signaturesMade,omitempty"`

	// Source and Destination count what the ends did.
	Source      EndReport `json:"source"`
	Destination EndReport `json:"destination"`
	// ReferrersSource does so for Options.ReferrersFrom, nil if there is none.
	ReferrersSource *EndReport `json:"referrersSource,omitempty"`

	// PlatformlessKept and PlatformlessLeft are those of the plan: entries without a platform.
	PlatformlessKept int `json:"platformlessKept,omitempty"`
	PlatformlessLeft int `json:"platformlessLeft,omitempty"`

	// Void names what is without effect at the destination: signatures of a list that changed, and
	// what else is attached to one.
	Void []string `json:"void,omitempty"`
	// Warnings are for people.
	Warnings []string `json:"warnings,omitempty"`
	// Elapsed is how long the copy took, in nanoseconds.
	Elapsed time.Duration `json:"elapsed"`
	// Error is why the copy failed, "" if it did not.
	Error string `json:"error,omitempty"`
}

// An AttachedReport says what happened to a referrer, to what a digest tag names, or to a child of
// either.
type AttachedReport struct {
	Subject      digest.Digest `json:"subject"`
	Digest       digest.Digest `json:"digest"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Tag          string        `json:"tag,omitempty"`
	Elsewhere    bool          `json:"elsewhere,omitempty"` // as of the plan
	Outcome      Outcome       `json:"outcome,omitempty"`
	Reason       plan.Reason   `json:"reason"`
}

// CheckLevel is how much of what is at a destination was looked at.
type CheckLevel string

// The levels, from the least to the most.
const (
	// CheckedEarlier compared the digests of what both ends name with those of an earlier copy
	// (Options.Earlier).
	CheckedEarlier CheckLevel = "earlier"
	// CheckedList compared the digest of what the destination names.
	CheckedList CheckLevel = "list"
	// CheckedChildren asked for each manifest too.
	CheckedChildren CheckLevel = "children"
	// CheckedBlobs asked for each blob too (Options.CheckBlobs).
	CheckedBlobs CheckLevel = "blobs"
)

// Outcome is what happened to an instance.
type Outcome string

// The outcomes. An instance that a failed copy did not get to has none.
const (
	Copied  Outcome = "copied"
	Present Outcome = "present" // at the destination already
	Skipped Outcome = "skipped" // not selected, or missing: the Reason says which
)

// EntryOutcome is what happened to an entry of a list that was written.
type EntryOutcome string

// The outcomes of an entry. The entries of lists that were not written have none.
const (
	Kept     EntryOutcome = "kept"
	Stripped EntryOutcome = "stripped"
	Updated  EntryOutcome = "updated" // names the new digest of a nested list, or of an image that was converted
)

// An InstanceReport says what happened to one instance.
type InstanceReport struct {
	// List is the list, as it is at the source, that Index is a position of; "" for a single image.
	List          digest.Digest `json:"list,omitempty"`
	Index         int           `json:"index"`
	Digest        digest.Digest `json:"digest"`
	Platform      string        `json:"platform"`
	AttestationOf digest.Digest `json:"attestationOf,omitempty"`
	// Relation, Kind and Subject are those of the plan: see plan.InstancePlan.
	Relation plan.Relation `json:"relation,omitempty"`
	Kind     string        `json:"kind,omitempty"`
	Subject  digest.Digest `json:"subject,omitempty"`
	Nested   bool          `json:"nested,omitempty"` // it is a list
	Outcome  Outcome       `json:"outcome,omitempty"`
	Entry    EntryOutcome  `json:"entry,omitempty"`
	Reason   plan.Reason   `json:"reason"`
	// Transform and Became are those of the plan: why an image was transformed, and what it is at
	// the destination.
	Transform string       `json:"transform,omitempty"`
	Became    *plan.Became `json:"became,omitempty"`
	// Missing is set if it was selected and is missing at the source.
	Missing bool `json:"missing,omitempty"`
	// Bytes are those of blobs moved for this instance; a blob that several share counts for the
	// first.
	Bytes int64 `json:"bytes,omitempty"`
	// Elapsed is from the start of its first blob to its manifest, in nanoseconds.
	Elapsed time.Duration `json:"elapsed,omitempty"`
}

// An EndReport counts what one end of the copy did. Ends that are not spoken to directly count
// nothing.
type EndReport struct {
	// Transport is how the end was accessed: "registry" if it was spoken to directly, else
	// "transport".
	Transport string `json:"transport,omitempty"`
	// TransportReason says why a registry was not spoken to directly.
	TransportReason string `json:"transportReason,omitempty"`
	// Requests and Retries are HTTP requests; Retries are among them.
	Requests int64 `json:"requests,omitempty"`
	Retries  int64 `json:"retries,omitempty"`
	// Resumed are uploads that went on where another attempt, or an earlier process, had ended, and
	// BegunAnew those that were remembered and could not go on. Both are 0 without
	// CopierOptions.ResumeDir.
	Resumed   int64 `json:"resumed,omitempty"`
	BegunAnew int64 `json:"begunAnew,omitempty"`
}
