package report

import "github.com/opencontainers/go-digest"

// OriginalForm is the form in which an artifact is at a destination.
type OriginalForm string

// The forms.
const (
	// ArtifactForm is an artifact as the OCI image specification has them.
	ArtifactForm OriginalForm = "artifact"
	// PlainForm is a plain image, which is what registries get that refuse the artifact.
	PlainForm OriginalForm = "plain"
)

// An OriginalReport says what was attached of a list that changed, so that it can be verified
// without the source.
type OriginalReport struct {
	// List is the list at the source.
	List digest.Digest `json:"list"`
	// Digest is that of the artifact with the list and those nested in it, as it is stored; "" if
	// there is a Reason. Form and Outcome are empty as long as it is not at the destination.
	Digest  digest.Digest `json:"digest,omitempty"`
	Form    OriginalForm  `json:"form,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"`
	// Signatures are those of the list that travel along.
	Signatures []OriginalSignatureReport `json:"signatures,omitempty"`
	// Reason is why nothing is attached, "" if something is.
	Reason string `json:"reason,omitempty"`
}

// An OriginalSignatureReport says how a signature of a list travels along.
type OriginalSignatureReport struct {
	// Of and Kind are those of the plan: what signature it is, and how it is attached at the
	// source.
	Of   digest.Digest `json:"of"`
	Kind string        `json:"kind"`
	// Digest, Form and Outcome are as in OriginalReport.
	Digest  digest.Digest `json:"digest"`
	Form    OriginalForm  `json:"form,omitempty"`
	Outcome Outcome       `json:"outcome,omitempty"`
}
