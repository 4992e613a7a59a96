package sparseregistry

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Where a registry announces its policy: headers of the answer to GET /v2/, and a document. The
// document, SupportHeader and ArchitecturesHeader are Quay's; Quay has neither the other headers
// nor what they say in its document.
const (
	SupportHeader       = "X-Sparse-Manifest-Support" // "true" or "false"
	ArchitecturesHeader = "X-Required-Architectures"  // separated by commas; absent if none is required
	PlatformsHeader     = "X-Required-Platforms"      // likewise

	// WithoutPlatformHeader is "true" if children must exist whose entry states no architecture,
	// else "false". A registry that has it answers for one repository, too (Announce).
	WithoutPlatformHeader = "X-Required-Without-Platform"

	// WideningHeader is "true" if a child that is pushed after the list stays as long as the list
	// does. It is absent if sparse lists are not accepted. Quay links children to a list only when
	// that is first stored.
	WideningHeader   = "X-Sparse-Manifest-Widening"
	CapabilitiesPath = "/api/v1/registry/capabilities"
)

// repositoryParameter of the query is for which repository a client asks.
const repositoryParameter = "repository"

// Capabilities is the document at CapabilitiesPath.
type Capabilities struct {
	SparseManifests SparseManifests `json:"sparse_manifests"`
}

// SparseManifests says what a registry does with sparse lists. Without Supported, every child must
// exist: RequiredWithoutPlatform is true, and the other fields are empty.
type SparseManifests struct {
	Supported               bool     `json:"supported"`
	RequiredArchitectures   []string `json:"required_architectures"`    // never null
	RequiredPlatforms       []string `json:"required_platforms"`        // never null; as manifest.SparsePolicy has them
	RequiredWithoutPlatform bool     `json:"required_without_platform"` // as WithoutPlatformHeader
	Widening                bool     `json:"widening"`                  // as WideningHeader
}

// Announce serves the capabilities document, to GET and HEAD only (405 UNSUPPORTED), and adds the
// headers to what next answers to GET and HEAD of /v2/, a refusal of access included: a client that
// asks without credentials learns the policy, too. What is announced is the strictest of the
// policies, because the answer is about all repositories. policies is called for each answer, and
// may be called concurrently.
//
// With ?repository=NAME, the answer is about one repository, which need not exist, if next lets the
// caller pull from it (AskToRead). Else it is the same as without: it shows neither whether there
// is such a repository, nor whether it has a policy of its own.
//
// It announces widening where sparse lists are accepted: the registry behind must keep what a list
// names, whenever that came.
func Announce(next http.Handler, policies func() Policies) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case r.URL.Path == CapabilitiesPath && !read:
			notAllowed(r, "the capabilities", "GET, HEAD").write(w)
			return
		case r.URL.Path == CapabilitiesPath:
			w.Header().Set("Content-Type", "application/json")
			// Only the client can make it fail, by leaving.
			_ = json.NewEncoder(w).Encode(Capabilities{announcementOf(policyFor(next, r, policies()))})
			return
		case r.URL.Path == "/v2/" && read:
			announce(w.Header(), announcementOf(policyFor(next, r, policies())))
		}
		next.ServeHTTP(w, r)
	})
}

// policyFor is the policy that r's answer is about.
func policyFor(next http.Handler, r *http.Request, policies Policies) manifest.SparsePolicy {
	named := r.URL.Query()[repositoryParameter]
	if len(policies.Rules) > 0 && len(named) == 1 && AskToRead(next, r, named[0]).Granted() {
		return policies.For(named[0])
	}
	return policies.Strictest()
}

func announcementOf(policy manifest.SparsePolicy) SparseManifests {
	s := SparseManifests{
		Supported: policy.Enabled, RequiredArchitectures: []string{}, RequiredPlatforms: []string{},
		RequiredWithoutPlatform: policy.RequiresWithoutPlatform(),
	}
	if policy.Enabled {
		s.RequiredArchitectures = append(s.RequiredArchitectures, policy.RequiredArchitectures...)
		s.RequiredPlatforms = append(s.RequiredPlatforms, policy.RequiredPlatforms...)
		s.Widening = true
	}
	return s
}

func announce(h http.Header, s SparseManifests) {
	h.Set(SupportHeader, strconv.FormatBool(s.Supported))
	h.Set(WithoutPlatformHeader, strconv.FormatBool(s.RequiredWithoutPlatform))
	if s.Widening {
		h.Set(WideningHeader, "true")
	}
	if len(s.RequiredArchitectures) > 0 {
		h.Set(ArchitecturesHeader, strings.Join(s.RequiredArchitectures, ","))
	}
	if len(s.RequiredPlatforms) > 0 {
		h.Set(PlatformsHeader, strings.Join(s.RequiredPlatforms, ","))
	}
}
