package vouching

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sparsecopy/sparsecopy/copy/internal/trust"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// What the statements are about, as their readers know it.
const (
	// SignaturePredicate is the predicate type of a signature (cosign). It says nothing but that
	// the key's owner accepts the subject.
	SignaturePredicate = trust.SignaturePredicate
	// SummaryPredicate is the predicate type of a summary (SLSA, Verification Summary Attestation).
	SummaryPredicate = "https://slsa.dev/verification_summary/v1"
	// Level is what was verified of the subject. Names that begin with SLSA_ are SLSA's.
	Level = "SPARSECOPY_SUBSET_OF_SIGNED_LIST"
)

// Facts are what a mirror says of a list that it has stripped.
type Facts struct {
	Stripped   imgspecv1.Descriptor
	Repository string // that has it: host and path, without a tag
	Original   digest.Digest
	Removal    manifest.Removal // how Stripped became of Original
	Verifier   string           // a URI that names the mirror
	Policy     Policy           // that accepted the original because of Judged
	Judged     []digest.Digest  // the original's signatures; the order does not matter
}

// A Policy is what signatures were judged by.
type Policy struct {
	URI    string
	Digest digest.Digest
}

// PolicyOf returns what is said of a policy that marshals to JSON, where uri and digest do not say
// it: the digest of its JSON, and a URI with that digest (RFC 6920). Files that it names are part
// of it by their names alone.
func PolicyOf(policy any, uri string, d digest.Digest) (Policy, error) {
	if d == "" {
		text, err := json.Marshal(policy)
		if err != nil {
			return Policy{}, fmt.Errorf("the policy has no digest: %w", err)
		}
		d = digest.FromBytes(text)
	}
	if uri == "" {
		sum, err := hex.DecodeString(d.Encoded())
		if err != nil {
			return Policy{}, fmt.Errorf("the digest of the policy: %w", err)
		}
		uri = fmt.Sprintf("ni:///%s;%s", strings.Replace(string(d.Algorithm()), "sha", "sha-", 1), base64.RawURLEncoding.EncodeToString(sum))
	}
	return Policy{uri, d}, nil
}

// A Statement is an in-toto statement (v1).
type Statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     any        `json:"predicate"`
}

// A Resource is in-toto's descriptor of something that has a digest.
type Resource struct {
	Name   string    `json:"name,omitempty"`
	URI    string    `json:"uri,omitempty"`
	Digest DigestSet `json:"digest"`

	Annotations *struct{} `json:"annotations,omitempty"` // those of a signature: none
}

// A DigestSet has digests in hexadecimal by their algorithms.
type DigestSet map[string]string

func setOf(d digest.Digest) DigestSet {
	return DigestSet{d.Algorithm().String(): d.Encoded()}
}

// A Summary is the predicate of a statement that says what was verified. Its last field is ours.
type Summary struct {
	Verifier           Verifier   `json:"verifier"`
	TimeVerified       string     `json:"timeVerified"`
	ResourceURI        string     `json:"resourceUri"`
	Policy             Resource   `json:"policy"`
	InputAttestations  []Resource `json:"inputAttestations"`
	VerificationResult string     `json:"verificationResult"`
	VerifiedLevels     []string   `json:"verifiedLevels"`
	SLSAVersion        string     `json:"slsaVersion"`
	Subset             Subset     `json:"https://github.com/sparsecopy/sparsecopy/subset/v1"`
}

// A Verifier is who has verified something.
type Verifier struct {
	ID string `json:"id"`
}

// A Subset says what the subject is a subset of, and what was taken out.
type Subset struct {
	Original digest.Digest `json:"original"`
	manifest.Removal
}

// Statements returns what f says: a signature and a summary, verified at the given time.
func Statements(f Facts, at time.Time) []Statement {
	signature := Statement{
		Subject:       []Resource{{Digest: setOf(f.Stripped.Digest), Annotations: &struct{}{}}},
		PredicateType: SignaturePredicate,
		Predicate:     struct{}{},
	}
	summary := Statement{
		Subject:       []Resource{{Name: f.Repository, Digest: setOf(f.Stripped.Digest)}},
		PredicateType: SummaryPredicate,
		Predicate:     summaryOf(f, at),
	}
	signature.Type, summary.Type = statementType, statementType
	return []Statement{signature, summary}
}

const statementType = "https://in-toto.io/Statement/v1"

func summaryOf(f Facts, at time.Time) Summary {
	inputs := []Resource{}
	for _, d := range slices.Compact(slices.Sorted(slices.Values(f.Judged))) {
		inputs = append(inputs, Resource{Digest: setOf(d)})
	}
	return Summary{
		Verifier:           Verifier{ID: f.Verifier},
		TimeVerified:       at.UTC().Format(time.RFC3339),
		ResourceURI:        resourceURI(f.Repository, f.Stripped.Digest),
		Policy:             Resource{URI: f.Policy.URI, Digest: setOf(f.Policy.Digest)},
		InputAttestations:  inputs,
		VerificationResult: "PASSED",
		VerifiedLevels:     []string{Level},
		SLSAVersion:        "1.0",
		Subset:             Subset{Original: f.Original, Removal: f.Removal},
	}
}

// resourceURI returns the package URL of what a repository has (purl-spec, type oci). It has no
// tag: what a tag names was not verified.
func resourceURI(repository string, d digest.Digest) string {
	escape := func(s string) string { return strings.ReplaceAll(s, ":", "%3A") }
	return fmt.Sprintf("pkg:oci/%s@%s?repository_url=%s", path.Base(repository), escape(d.String()), escape(repository))
}
