package sparseserver

import (
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// SetPolicies puts policies in force. If they do not validate, those before stay. A list that is
// being checked is judged by those that were in force when that began. It may run concurrently with
// requests and with all methods.
func (s *Server) SetPolicies(policies sparseregistry.Policies) error {
	if err := policies.Validate(); err != nil {
		return err
	}
	s.policies.Store(&policies)
	return nil
}

// Policies returns the policies that are in force.
func (s *Server) Policies() sparseregistry.Policies { return *s.policies.Load() }

func (s *Server) policy(repository string) manifest.SparsePolicy {
	return s.policies.Load().For(repository)
}
