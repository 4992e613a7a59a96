package inspect

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// VerificationSchema names the JSON form of a Verification. The number changes when a reader of the
// old form would go wrong.
const VerificationSchema = "sparsecopy.verification/v1"

// A Verification says whether a destination is what a copy would have made of it.
type Verification struct {
	Schema      string        `json:"schema"` // VerificationSchema
	Source      string        `json:"source"`
	Destination string        `json:"destination"`
	Wanted      digest.Digest `json:"wanted"`          // what the destination should name
	Found       digest.Digest `json:"found,omitempty"` // what it names; absent if nothing

	// Orphaned says what the source definitely lacks by now, so that the destination was held
	// against what it names itself, which is Wanted. Absent where the source said what is wanted.
	Orphaned string `json:"orphaned,omitempty"`

	// Violations are what is wrong, in an order that does not depend on chance. Empty, and not nil,
	// if and only if the destination is complete and true.
	Violations []Violation `json:"violations"`

	Manifests int   `json:"manifests"` // lists and manifests that were read and hashed
	Blobs     int   `json:"blobs"`     // distinct blobs that were looked for, or read
	BlobsRead bool  `json:"blobsRead"` // and hashed
	BytesRead int64 `json:"bytesRead"` // of blobs
	Attached  int   `json:"attached"`  // referrers and digest tags that were looked for
	Elsewhere int   `json:"elsewhere"` // distinct layers that have URLs, and were not looked for

	// Warnings say what is not known, such as what the source did not tell, and what was left out.
	Warnings []string `json:"warnings,omitempty"`
}

// A Violation is one thing that is not as it should be.
type Violation struct {
	Digest   digest.Digest `json:"digest"`             // "" where the source no longer says what it should be
	What     string        `json:"what"`               // "list", "manifest", "config", "layer", "referrer", "tag" or "signatures"
	Platform string        `json:"platform,omitempty"` // of the image that it belongs to, or what it is attached to
	Problem  string        `json:"problem"`            // for people

	// Lost says that no copy brings it back: the source definitely does not have it either.
	Lost bool `json:"lost,omitempty"`
}

// Damaged reports whether something is wrong that no copy mends.
func (v *Verification) Damaged() bool {
	return slices.ContainsFunc(v.Violations, func(v Violation) bool { return v.Lost })
}

// What a Violation is about.
const (
	aList       = "list"
	aManifest   = "manifest"
	aConfig     = "config"
	aLayer      = "layer"
	aReferrer   = "referrer"   // and where it is listed
	aTag        = "tag"        // a digest tag
	aSignatures = "signatures" // of a manifest or list
)

// String returns the violation in one line, for people: as what, digest, platform and problem.
func (v Violation) String() string {
	text := v.What
	if v.Digest != "" {
		text += " " + v.Digest.String()
	}
	if v.Platform != "" {
		text += " (" + v.Platform + ")"
	}
	text += ": " + v.Problem
	if v.Lost {
		text += "; the source does not have it either"
	}
	return text
}
