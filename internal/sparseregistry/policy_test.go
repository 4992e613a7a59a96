package sparseregistry_test

import (
	"net/http"
	"testing"

	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// lax is a registry that accepts sparse lists.
func lax(t testing.TB) http.Handler {
	registry := registrytest.NewHandler(registrytest.Options{HonourAccept: true})
	t.Cleanup(registry.Close)
	return registry
}

func TestChangingPolicies(t *testing.T) { sparsetest.ChangingPolicies(t, lax) }

func TestAcceptancePerRepository(t *testing.T) {
	sparsetest.AcceptancePerRepository(t, func(t *testing.T, policies sparseregistry.Policies) *sparsetest.Client {
		return sparsetest.ServePolicies(t, lax(t), policies)
	})
}

func TestNoAcceptedListLacksARequiredChild(t *testing.T) { sparsetest.Race(t, lax) }

func TestSameAnswersWithAndWithoutThePolicy(t *testing.T) { sparsetest.SameAnswers(t, lax) }
