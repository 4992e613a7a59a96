package vouching

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// of is the digest of a fixture: one digit, 64 times.
func of(digit string) digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, strings.Repeat(digit, 64))
}

// facts are those of a list of which one entry was taken out.
func facts() Facts {
	return Facts{
		Stripped:   imgspecv1.Descriptor{MediaType: imgspecv1.MediaTypeImageIndex, Digest: of("1"), Size: 1000},
		Repository: "mirror.example:5000/library/app",
		Original:   of("2"),
		Removal:    removal(1),
		Verifier:   "https://mirror.example/verifier",
		Policy:     Policy{URI: "https://mirror.example/policy.json", Digest: of("3")},
		Judged:     []digest.Digest{of("5"), of("4"), of("5")},
	}
}

// removal is that of the entry at an index, of two.
func removal(index int) manifest.Removal {
	return manifest.Removal{Entries: 2, Removed: []manifest.RemovedEntry{{
		Index: index, Digest: of("6"), MediaType: imgspecv1.MediaTypeImageManifest,
		Platform: &imgspecv1.Platform{OS: "linux", Architecture: "arm64"},
	}}}
}

// noon is a time of which the zone does not matter.
var noon = time.Date(2026, 1, 2, 13, 0, 0, 1, time.FixedZone("", 3600))

// said returns the statements about f as they are signed: the signature, and the summary.
func said(t testing.TB, f Facts) (signature, summary string) {
	var texts []string
	for _, s := range Statements(f, noon) {
		text, err := json.Marshal(s)
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	require.Len(t, texts, 2)
	return texts[0], texts[1]
}

// TestStatements holds the statements against what cosign writes and SLSA asks for.
func TestStatements(t *testing.T) {
	signature, summary := said(t, facts())
	assert.JSONEq(t, `{
		"_type": "https://in-toto.io/Statement/v1",
		"subject": [{"digest": {"sha256": "`+of("1").Encoded()+`"}, "annotations": {}}],
		"predicateType": "https://sigstore.dev/cosign/sign/v1",
		"predicate": {}
	}`, signature)
	assert.JSONEq(t, `{
		"_type": "https://in-toto.io/Statement/v1",
		"subject": [{"name": "mirror.example:5000/library/app", "digest": {"sha256": "`+of("1").Encoded()+`"}}],
		"predicateType": "https://slsa.dev/verification_summary/v1",
		"predicate": {
			"verifier": {"id": "https://mirror.example/verifier"},
			"timeVerified": "2026-01-02T12:00:00Z",
			"resourceUri": "pkg:oci/app@sha256%3A`+of("1").Encoded()+`?repository_url=mirror.example%3A5000/library/app",
			"policy": {"uri": "https://mirror.example/policy.json", "digest": {"sha256": "`+of("3").Encoded()+`"}},
			"inputAttestations": [{"digest": {"sha256": "`+of("4").Encoded()+`"}}, {"digest": {"sha256": "`+of("5").Encoded()+`"}}],
			"verificationResult": "PASSED",
			"verifiedLevels": ["SPARSECOPY_SUBSET_OF_SIGNED_LIST"],
			"slsaVersion": "1.0",
			"https://github.com/sparsecopy/sparsecopy/subset/v1": {
				"original": "`+of("2").String()+`",
				"entries": 2,
				"removed": [{
					"index": 1, "digest": "`+of("6").String()+`", "mediaType": "application/vnd.oci.image.manifest.v1+json",
					"platform": {"os": "linux", "architecture": "arm64"}
				}]
			}
		}
	}`, summary)
}

// TestLevelIsOurs: what begins with SLSA_ only SLSA may define.
func TestLevelIsOurs(t *testing.T) {
	assert.NotRegexp(t, "^SLSA_", Level)
	_, summary := said(t, facts())
	assert.Contains(t, summary, `"https://github.com/sparsecopy/sparsecopy/subset/v1"`)
}

// TestPolicies: what is not said of a policy follows from what it is.
func TestPolicies(t *testing.T) {
	type policy struct{ Default string }
	one, err := PolicyOf(policy{"one"}, "", "")
	require.NoError(t, err)
	assert.Equal(t, digest.FromString(`{"Default":"one"}`), one.Digest)
	assert.Regexp(t, `^ni:///sha-256;[A-Za-z0-9_-]{43}$`, one.URI)
	two, err := PolicyOf(policy{"two"}, "", "")
	require.NoError(t, err)
	assert.NotEqual(t, one, two)
	told, err := PolicyOf(policy{"two"}, "https://example.com/policy", one.Digest)
	require.NoError(t, err)
	assert.Equal(t, Policy{"https://example.com/policy", one.Digest}, told)
	half, err := PolicyOf(policy{"two"}, "", one.Digest)
	require.NoError(t, err)
	assert.Equal(t, one, half)
	_, err = PolicyOf(func() {}, "", "")
	assert.ErrorContains(t, err, "the policy has no digest")
}
