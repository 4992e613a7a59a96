package sparseserver

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestAcceptancePerRepository runs the table over the whole server.
func TestAcceptancePerRepository(t *testing.T) {
	sparsetest.AcceptancePerRepository(t, func(t *testing.T, policies sparseregistry.Policies) *sparsetest.Client {
		_, client := start(t, Config{Policies: policies})
		return client
	})
}

// TestPoliciesAreExchangedWhileTheServerRuns has one that is stricter in one repository, and one
// that does not validate.
func TestPoliciesAreExchangedWhileTheServerRuns(t *testing.T) {
	server, client := start(t, Config{})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	put := func(repository string) int { return client.Put(t, f, repository, "v1", "top").Status }
	announced := func() string {
		return client.Do(t, http.MethodGet, "/v2/", nil, nil).Header.Get(sparseregistry.SupportHeader)
	}
	assert.Equal(t, http.StatusBadRequest, put("team/app"))
	assert.Equal(t, "false", announced())

	on := manifest.SparsePolicy{Enabled: true}
	stricter := []sparseregistry.Rule{{Pattern: "base/*", Policy: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}}}}
	require.NoError(t, reload(server, Config{Policies: sparseregistry.Policies{Default: on, Rules: stricter}}))
	for range 2 {
		assert.Equal(t, http.StatusCreated, put("team/app"))
		assert.Equal(t, http.StatusBadRequest, put("base/app"))
		assert.Equal(t, "true", announced())
		err := reload(server, Config{Policies: sparseregistry.Policies{Rules: []sparseregistry.Rule{{Pattern: "Team/*"}}}})
		require.ErrorContains(t, err, `rule 1 ("Team/*"): no repository can have such a name`)
	}
	assert.Equal(t, sparseregistry.Policies{Default: on, Rules: stricter}, server.Policies())
}

// TestNobodyIsDeniedWhoAsksForTheStrictestPolicy: whoever may not pull from the repository that
// they name gets an answer, and the log does not say otherwise.
func TestNobodyIsDeniedWhoAsksForTheStrictestPolicy(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(htpasswd, []byte("alice:"+string(hash)+"\n"), 0o600))
	var log logBuffer
	_, client := start(t, Config{
		Htpasswd: htpasswd, Log: log.logger(),
		Policies: sparseregistry.Policies{Rules: []sparseregistry.Rule{{Pattern: "base/*"}}},
	})
	for _, path := range []string{sparseregistry.CapabilitiesPath, "/v2/"} {
		client.Do(t, http.MethodGet, path+"?repository=base/app", nil, nil)
	}
	require.Eventually(t, func() bool { return len(log.lines("msg=request")) == 2 }, time.Minute, time.Millisecond)
	for _, line := range log.lines("msg=request") {
		assert.Equal(t, strings.Contains(line, "status=401"), strings.Contains(line, "reason="), "%s", line)
	}
}
