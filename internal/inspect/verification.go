package inspect

import (
	"fmt"

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
	Digest   digest.Digest `json:"digest"`
	What     string        `json:"what"`               // "list", "manifest", "config", "layer", "referrer", "tag" or "signatures"
	Platform string        `json:"platform,omitempty"` // of the image that it belongs to, or what it is attached to
	Problem  string        `json:"problem"`            // for people
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
	text := v.What + " " + v.Digest.String()
	if v.Platform != "" {
		text += " (" + v.Platform + ")"
	}
	return fmt.Sprintf("%s: %s", text, v.Problem)
}
