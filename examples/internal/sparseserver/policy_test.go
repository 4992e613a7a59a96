package sparseserver

import (
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	if storage := os.Getenv(storageVariable); storage != "" {
		serveForParent(storage)
	}
	os.Exit(hermetictest.Main(m.Run))
}

// distribution is the registry behind, without the policy.
func distribution(t testing.TB) http.Handler {
	r, err := newRegistry(Config{Storage: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(r.close)
	return r
}

// TestChangingPolicies has what TestAcceptancePerRepository leaves out, which runs over the whole
// server.
func TestChangingPolicies(t *testing.T) { sparsetest.ChangingPolicies(t, distribution) }

func TestNoAcceptedListLacksARequiredChild(t *testing.T) { sparsetest.Race(t, distribution) }

func TestSameAnswersWithAndWithoutThePolicy(t *testing.T) { sparsetest.SameAnswers(t, distribution) }
