package sparseregistry

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// Where a registry announces its policy: headers of the answer to GET /v2/, and a document. The
// document is Quay's, but for widening; it needs no credentials.
const (
	SupportHeader       = "X-Sparse-Manifest-Support" // "true" or "false"
	ArchitecturesHeader = "X-Required-Architectures"  // separated by commas; absent if nothing is required
	// WideningHeader is "true" if a child that is pushed after the list stays as long as the list
	// does. It is absent if sparse lists are not accepted. Quay, which links children to a list
	// only when that is first stored, does not have it.
	WideningHeader   = "X-Sparse-Manifest-Widening"
	CapabilitiesPath = "/api/v1/registry/capabilities"
)

// Capabilities is the document at CapabilitiesPath.
type Capabilities struct {
	SparseManifests SparseManifests `json:"sparse_manifests"`
}

// SparseManifests says what a registry does with sparse lists.
type SparseManifests struct {
	Supported             bool     `json:"supported"`
	RequiredArchitectures []string `json:"required_architectures"` // never null; empty if Supported is false
	Widening              bool     `json:"widening"`               // as WideningHeader; false if Supported is
}

// Announce serves the capabilities document, and adds the headers to what next answers to GET and
// HEAD of /v2/, a refusal of access included: a client that asks without credentials learns the
// policy, too. What is announced is the strictest of the policies, because the answer is about all
// repositories. policies is called for each answer, and may be called concurrently.
//
// It announces widening where sparse lists are accepted: the registry behind must keep what a list
// names, whenever that came.
func Announce(next http.Handler, policies func() Policies) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case r.URL.Path == CapabilitiesPath:
			serveCapabilities(w, capabilities(policies().Strictest()), read)
			return
		case r.URL.Path == "/v2/" && read:
			announce(w.Header(), capabilities(policies().Strictest()).SparseManifests)
		}
		next.ServeHTTP(w, r)
	})
}

func capabilities(policy manifest.SparsePolicy) Capabilities {
	c := Capabilities{SparseManifests: SparseManifests{Supported: policy.Enabled, RequiredArchitectures: []string{}}}
	if policy.Enabled {
		c.SparseManifests.Widening = true
		c.SparseManifests.RequiredArchitectures = append(c.SparseManifests.RequiredArchitectures, policy.RequiredArchitectures...)
	}
	return c
}

func announce(h http.Header, s SparseManifests) {
	if !s.Supported {
		h.Set(SupportHeader, "false")
		return
	}
	h.Set(SupportHeader, "true")
	h.Set(WideningHeader, "true")
	if len(s.RequiredArchitectures) > 0 {
		h.Set(ArchitecturesHeader, strings.Join(s.RequiredArchitectures, ","))
	}
}

func serveCapabilities(w http.ResponseWriter, c Capabilities, read bool) {
	if !read {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c) // only the client can make it fail, by leaving
}
