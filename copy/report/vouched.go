package report

import "github.com/opencontainers/go-digest"

// A VouchedReport says what the keys of a copy did that attaches originals: they sign what is left
// of a list if that list is judged to be signed, and nothing else.
type VouchedReport struct {
	// Code and Reason are why nothing was signed, or, if signatures were Judged, why no bundles are
	// attached, for programs and for people. "" for neither.
	Code   VouchedCode `json:"code,omitempty"`
	Reason string      `json:"reason,omitempty"`
	// Judged are the signatures of the original that were accepted: their manifests, or those
	// signatures that have none.
	Judged []digest.Digest `json:"judged,omitempty"`
	// Bundles are attached to the stripped list, those of earlier copies included. None without a
	// sigstore private key, and with a Code.
	Bundles []VouchedBundle `json:"bundles,omitempty"`
}

// A VouchedCode is why keys signed nothing: one of the constants, or why the original counts as not
// signed, in the words of a StripVerification.
type VouchedCode string

// Why nothing is signed before anything is judged, and why no bundles are attached afterwards.
const (
	NothingRemoved VouchedCode = "nothing-removed" // the list stays as it is, or there is none
	NotProvable    VouchedCode = "not-provable"    // more becomes of it than that entries go

	BundlesRefused  VouchedCode = "bundles-refused"   // the destination does not take what they are
	TooManyBundles  VouchedCode = "too-many-bundles"  // are attached to what is left to look into
	SummaryTooLarge VouchedCode = "summary-too-large" // so many entries were removed
)

// A VouchedBundle is a sigstore bundle with a statement about a stripped list.
type VouchedBundle struct {
	PredicateType string        `json:"predicateType"`
	Digest        digest.Digest `json:"digest"`  // of the manifest that carries it
	Outcome       Outcome       `json:"outcome"` // Copied or Present
}
