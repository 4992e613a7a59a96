package copy

import "github.com/sparsecopy/sparsecopy/copy/internal/trust"

// Why a stripped list is not proven, or a signature of its original is not accepted.
// docs/report-schema.md says what each means.
const (
	StripReasonNobodyJudges    = trust.NobodyJudges
	StripReasonOtherOrigin     = trust.OtherOrigin
	StripReasonOriginalAltered = trust.OriginalAltered

	StripReasonAbsent             = trust.Absent
	StripReasonNotAList           = trust.NotAList
	StripReasonNoOriginal         = trust.NoOriginal
	StripReasonOriginalUnknown    = trust.OriginalUnknown
	StripReasonOriginalOfAnother  = trust.OriginalOfAnother
	StripReasonOriginalUnreadable = trust.OriginalUnreadable
	StripReasonTooMuch            = trust.TooMuch

	StripReasonEntryDigest    = trust.EntryDigest
	StripReasonEntryPlatform  = trust.EntryPlatform
	StripReasonEntryAltered   = trust.EntryAltered
	StripReasonEntryAdded     = trust.EntryAdded
	StripReasonOrderChanged   = trust.OrderChanged
	StripReasonNestedUnproven = trust.NestedUnproven
	StripReasonNestedMissing  = trust.NestedMissing
	StripReasonLayoutChanged  = trust.LayoutChanged
	StripReasonRestChanged    = trust.RestChanged
	StripReasonListUnreadable = trust.ListUnreadable

	StripReasonNoSignature          = trust.NoSignature
	StripReasonSignatureUnreadable  = trust.SignatureUnreadable
	StripReasonTooManySignatures    = trust.TooManySignatures
	StripReasonBundlesOnly          = trust.BundlesOnly
	StripReasonPolicyOnly           = trust.PolicyOnly
	StripReasonPolicyDemandsNothing = trust.PolicyDemandsNothing
	StripReasonPolicyRejects        = trust.PolicyRejects
	StripReasonPolicyDemandsMore    = trust.PolicyDemandsMore

	StripReasonWrongIdentity   = trust.WrongIdentity
	StripReasonOtherDigest     = trust.OtherDigest
	StripReasonWrongKey        = trust.WrongKey
	StripReasonBundleRefused   = trust.BundleRefused
	StripReasonNotJudged       = trust.NotJudged
	StripReasonNoRequirement   = trust.NoRequirement
	StripReasonNothingDemanded = trust.NothingDemanded
	StripReasonNotAsked        = trust.NotAsked
	StripReasonAttestationOnly = trust.AttestationOnly
	StripReasonMalformed       = trust.Malformed
	StripReasonNobodyKnows     = trust.NobodyKnows
)
