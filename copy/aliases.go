package copy

import (
	"github.com/sparsecopy/sparsecopy/copy/plan"
	"github.com/sparsecopy/sparsecopy/copy/report"
)

// What package plan decides, and what it decides with, is part of this package's face.
type (
	// Plan says what a copy will do, before anything is written.
	Plan = plan.Plan
	// ListPlan says what happens to one list.
	ListPlan = plan.ListPlan
	// InstancePlan says what happens to one instance of a list, and to its entry.
	InstancePlan = plan.InstancePlan
	// ImagePlan says what happens to a single image.
	ImagePlan = plan.ImagePlan
	// Became is what an image that is transformed is at the destination.
	Became = plan.Became
	// AttachedPlan says what happens to a referrer, to what a digest tag names, or to a child of
	// either.
	AttachedPlan = plan.AttachedPlan
	// OriginalPlan says what is attached to a list that changes, so that it can be verified.
	OriginalPlan = plan.OriginalPlan
	// OriginalSignaturePlan says how a signature of the list at the source travels along.
	OriginalSignaturePlan = plan.OriginalSignaturePlan
	// OriginalSignature is a signature of the list at the source.
	OriginalSignature = plan.OriginalSignature
	// Attachment is a manifest or list that belongs to another one without being in a list.
	Attachment = plan.Attachment
	// Document is a manifest or a list as bytes.
	Document = plan.Document
	// Reason says why something is copied or not.
	Reason = plan.Reason
	// Relation is what an entry of a list is to another one.
	Relation = plan.Relation
	// ReasonCode says so for programs.
	ReasonCode = plan.ReasonCode
	// Way is who does the work of a copy.
	Way = plan.Way
	// Decision says what happens to an instance.
	Decision = plan.Decision
	// EntryDecision says what happens to an entry of a list.
	EntryDecision = plan.EntryDecision
	// SparseSupport says whether a destination accepts sparse lists, as far as that is known.
	SparseSupport = plan.SparseSupport
	// ListSignatures are the signatures that are attached to a list, as far as it is known.
	ListSignatures = plan.ListSignatures

	// SparseManifestListAction says what becomes of the entries of what is not copied.
	SparseManifestListAction = plan.SparseManifestListAction
	// AttestationAction says which attestations of a list are copied.
	AttestationAction = plan.AttestationAction
	// MissingInstanceAction says what a selected instance that the source does not have means.
	MissingInstanceAction = plan.MissingInstanceAction
	// ChangedSubjectAction says what becomes of what is about an image that changes.
	ChangedSubjectAction = plan.ChangedSubjectAction
	// SingleImageAction says what platform filters mean for a source that is a single image.
	SingleImageAction = plan.SingleImageAction
	// PlatformlessAction says what platform filters mean for entries that have no platform.
	PlatformlessAction = plan.PlatformlessAction
	// ReferrerAction says which referrers are copied.
	ReferrerAction = plan.ReferrerAction
	// DigestTagSuffixes says which digest tags are copied.
	DigestTagSuffixes = plan.DigestTagSuffixes
	// ListSignatureAction says what signatures that are attached to a list mean for stripping it.
	ListSignatureAction = plan.ListSignatureAction
	// InstancePlatformFilter selects instances by platform.
	InstancePlatformFilter = plan.InstancePlatformFilter

	// OptionsError says that options are invalid by themselves, together, or for what is to be
	// copied.
	OptionsError = plan.OptionsError
	// NoMatchError says that selectors match nothing in the source.
	NoMatchError = plan.NoMatchError
	// EmptyError says that nothing would be left.
	EmptyError = plan.EmptyError
	// CannotModifyError says that a list would have to change, and why that must not be.
	CannotModifyError = plan.CannotModifyError
	// RequiredError says that required platforms would not be at the destination.
	RequiredError = plan.RequiredError
	// RequiredPlatform is a requirement that is not met.
	RequiredPlatform = plan.RequiredPlatform
	// BlobsRefusedError says that the destination refuses a list that names blobs.
	BlobsRefusedError = plan.BlobsRefusedError
	// MissingError says that selected instances are missing at the source.
	MissingError = plan.MissingError
	// MissingInstance is an instance that a list names and the source does not have.
	MissingInstance = plan.MissingInstance
	// SparseRefusedError says that the destination refuses a sparse list, and that it is not
	// stripped.
	SparseRefusedError = plan.SparseRefusedError
	// WidenError says that a destination does not keep what is added to a list.
	WidenError = plan.WidenError
	// LimitError says that the tree of lists at the source is too deep or too large.
	LimitError = plan.LimitError
	// UnreadError says that nested lists were not given to NewPlan.
	UnreadError = plan.UnreadError
)

// What package report tells.
type (
	// Report says what a copy did.
	Report = report.Report
	// InstanceReport says what happened to one instance.
	InstanceReport = report.InstanceReport
	// AttachedReport says what happened to a referrer, to what a digest tag names, or to a child of
	// either.
	AttachedReport = report.AttachedReport
	// OriginalReport says what was attached of a list that changed.
	OriginalReport = report.OriginalReport
	// OriginalSignatureReport says how a signature of a list travels along.
	OriginalSignatureReport = report.OriginalSignatureReport
	// OriginalForm is the form in which an artifact is at a destination.
	OriginalForm = report.OriginalForm
	// VouchedReport says what the keys of a copy did that attaches originals.
	VouchedReport = report.VouchedReport
	// VouchedCode is why keys signed nothing.
	VouchedCode = report.VouchedCode
	// VouchedBundle is a sigstore bundle with a statement about a stripped list.
	VouchedBundle = report.VouchedBundle
	// EndReport counts what one end of the copy did.
	EndReport = report.EndReport
	// CheckLevel is how much of what is at a destination was looked at.
	CheckLevel = report.CheckLevel
	// Outcome is what happened to an instance.
	Outcome = report.Outcome
	// EntryOutcome is what happened to an entry of a list that was written.
	EntryOutcome = report.EntryOutcome
)

// Constants of these types. Packages plan and report say what each means.
const (
	PlanSchema   = plan.Schema
	ReportSchema = report.Schema

	CheckedEarlier  = report.CheckedEarlier
	CheckedList     = report.CheckedList
	CheckedChildren = report.CheckedChildren
	CheckedBlobs    = report.CheckedBlobs

	Copied  = report.Copied
	Present = report.Present
	Skipped = report.Skipped

	ArtifactForm = report.ArtifactForm
	PlainForm    = report.PlainForm

	NothingRemoved, NotProvable                     = report.NothingRemoved, report.NotProvable
	BundlesRefused, TooManyBundles, SummaryTooLarge = report.BundlesRefused, report.TooManyBundles, report.SummaryTooLarge

	Kept     = report.Kept
	Stripped = report.Stripped
	Updated  = report.Updated

	KindArtifact = plan.KindArtifact

	Native   = plan.Native
	Upstream = plan.Upstream

	Copy = plan.Copy
	Skip = plan.Skip

	Describes   = plan.Describes
	Accelerates = plan.Accelerates
	Replaces    = plan.Replaces

	KeepEntry   = plan.KeepEntry
	StripEntry  = plan.StripEntry
	UpdateEntry = plan.UpdateEntry

	KeepSparseManifestList  = plan.KeepSparseManifestList
	StripSparseManifestList = plan.StripSparseManifestList
	AutoSparseManifestList  = plan.AutoSparseManifestList

	DefaultAttestations = plan.DefaultAttestations
	FollowSubject       = plan.FollowSubject
	DropAttestations    = plan.DropAttestations
	KeepAllAttestations = plan.KeepAllAttestations

	FailOnMissing = plan.FailOnMissing
	SkipMissing   = plan.SkipMissing

	KeepChangedSubjects = plan.KeepChangedSubjects
	DropChangedSubjects = plan.DropChangedSubjects

	CheckSingleImage = plan.CheckSingleImage
	CopySingleImage  = plan.CopySingleImage

	StripPlatformlessEntries = plan.StripPlatformlessEntries
	KeepPlatformlessEntries  = plan.KeepPlatformlessEntries

	NoReferrers  = plan.NoReferrers
	AllReferrers = plan.AllReferrers

	CosignDigestTags = plan.CosignDigestTags
	AllDigestTags    = plan.AllDigestTags

	WarnListSignatures  = plan.WarnListSignatures
	GuardListSignatures = plan.GuardListSignatures

	ReasonAll          = plan.ReasonAll
	ReasonDigest       = plan.ReasonDigest
	ReasonIndex        = plan.ReasonIndex
	ReasonPlatform     = plan.ReasonPlatform
	ReasonWithin       = plan.ReasonWithin
	ReasonContains     = plan.ReasonContains
	ReasonFollows      = plan.ReasonFollows
	ReasonKept         = plan.ReasonKept
	ReasonPlatformless = plan.ReasonPlatformless
	ReasonSystem       = plan.ReasonSystem
	ReasonSingle       = plan.ReasonSingle
	ReasonEntire       = plan.ReasonEntire
	ReasonNotSelected  = plan.ReasonNotSelected
	ReasonExcluded     = plan.ReasonExcluded
	ReasonDropped      = plan.ReasonDropped
	ReasonMissing      = plan.ReasonMissing
	ReasonOrphaned     = plan.ReasonOrphaned
	ReasonUntied       = plan.ReasonUntied
	ReasonElsewhere    = plan.ReasonElsewhere
	ReasonEncryption   = plan.ReasonEncryption
	ReasonSubject      = plan.ReasonSubject
	ReasonVoid         = plan.ReasonVoid
	ReasonType         = plan.ReasonType
	ReasonEntry        = plan.ReasonEntry
	ReasonOriginal     = plan.ReasonOriginal
)

// ParsePlatformFilter parses [!]os/arch[/variant][:osversion], where each part may be "*" and "!"
// excludes: "linux/amd64", "linux/arm/v7", "linux/*", "windows/amd64:10.0.17763", "!windows/*".
func ParsePlatformFilter(s string) (InstancePlatformFilter, error) {
	return plan.ParsePlatformFilter(s)
}
