package trust

import (
	"github.com/opencontainers/go-digest"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Schema names the JSON form of a Verification. The number changes when a reader of the old form
// would go wrong.
const Schema = "sparsecopy.strip-verification/v1"

// A Verification says whether a stripped list is proven to be a publisher's, with entries taken
// out.
type Verification struct {
	Schema      string `json:"schema"` // Schema
	Destination string `json:"destination"`
	Origin      string `json:"origin"`

	// Proven is set if the list is the original with entries removed and nothing else touched, and
	// the original is signed. Otherwise, Reason and Problem say why that is not proven.
	Proven  bool   `json:"proven"`
	Reason  Reason `json:"reason,omitempty"`
	Problem string `json:"problem,omitempty"` // for people

	// List is what the destination names, "" if nothing.
	List digest.Digest `json:"list,omitempty"`
	// Original is the list that it was made of, Carrier the artifact in which that came along, and
	// Plain whether that is stored as a plain image. They are those of the proof; without one, of
	// what came nearest, "" if nothing did.
	Original digest.Digest `json:"original,omitempty"`
	Carrier  digest.Digest `json:"carrier,omitempty"`
	Plain    bool          `json:"plain,omitempty"`
	// Claim is the repository that the carrier says the original is from. Whoever has written it
	// says so, and nobody has verified it. "" if it says nothing.
	Claim string `json:"claim,omitempty"`
	// Removal is what the list lacks of the original. Nil unless that is proven, whoever has signed
	// the original.
	Removal *manifest.Removal `json:"removal,omitempty"`
	// Signatures are those of the original that were looked at.
	Signatures []Signature `json:"signatures,omitempty"`

	// Warnings say what is not known, and what was left out; for people.
	Warnings []string `json:"warnings,omitempty"`
}
