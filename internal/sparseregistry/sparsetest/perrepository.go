package sparsetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A Server makes an empty registry with the given policies, and a client for it. The test's Cleanup
// releases both.
type Server func(t *testing.T, policies sparseregistry.Policies) *Client

// AcceptancePerRepository runs the acceptance table over one registry: which lists are stored,
// which are refused and how, in OCI and in Docker form, by tag and by digest. The registry has the
// policy of each row in the repository of that row, and one that would make every row fail as its
// default.
func AcceptancePerRepository(t *testing.T, server Server) {
	policies := sparseregistry.Policies{Default: on("mips64p32le")}
	rule := func(last string, policy manifest.SparsePolicy) {
		policies.Rules = append(policies.Rules, sparseregistry.Rule{Pattern: "*/by/*/" + last, Policy: policy})
	}
	for i, c := range pushCases {
		rule(caseName(i), c.policy)
	}
	for name := range histories {
		rule(strings.ToLower(name[:3]), on("amd64"))
	}
	client := server(t, policies)
	t.Run("table", func(t *testing.T) { run(t, client) })
	for _, v := range variations {
		t.Run("one list in several repositories, "+v.name, func(t *testing.T) { severalRepositories(t, server, v) })
	}
}

// severalRepositories pushes a list to repositories with different policies, after it was foretold
// what will become of it.
func severalRepositories(t *testing.T, server Server, v variation) {
	client := server(t, sparseregistry.Policies{
		Default: on("amd64"),
		Rules: []sparseregistry.Rule{
			{Pattern: "base/**", Policy: off},
			{Pattern: "team/arm", Policy: platforms("linux/arm/v7")},
			{Pattern: "team/*", Policy: on()},
		},
	})
	for _, c := range []struct {
		repository, announced string
		missing               []child
	}{
		{"base", "false; without platform true", []child{
			{"armv7", "arm", "Manifest DIGEST(armv7) for platform 'linux/arm/v7' not found (and 1 more)"},
			{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"},
		}},
		{"base/app/x", "false; without platform true", []child{
			{"armv7", "arm", "Manifest DIGEST(armv7) for platform 'linux/arm/v7' not found (and 1 more)"},
			{"arm64", "arm64", "Manifest DIGEST(arm64) for platform 'linux/arm64' not found"},
		}},
		{"team/arm", "true; platforms linux/arm/v7; without platform true", []child{
			{"armv7", "arm", "Required platform 'linux/arm/v7' manifest not found"},
		}},
		{"team/app", "true; without platform false", nil},
		{"team/app/x", "true; architectures amd64; without platform true", nil},
		{"other", "true; architectures amd64; without platform true", nil},
	} {
		a := newAttempt(t, client, v, "")
		a.repo = c.repository
		a.push("amd64")
		a.list("amd64", "armv7", "arm64")
		for _, path := range []string{"/v2/", sparseregistry.CapabilitiesPath} {
			answer := client.Do(t, http.MethodGet, path+"?repository="+c.repository, nil, nil)
			require.Equal(t, http.StatusOK, answer.Status)
			assert.Equal(t, c.announced, announcedIn(t, path, answer), c.repository)
			assert.Equal(t, "false; without platform true", announcedIn(t, path, client.Do(t, http.MethodGet, path, nil, nil)), "for all")
		}
		a.check(pushCase{policy: policyOf[c.repository], present: []string{"amd64"}, missing: c.missing})
	}
}

// policyOf are the policies by which refusals of severalRepositories are explained.
var policyOf = map[string]manifest.SparsePolicy{"team/arm": platforms("linux/arm/v7")}

// announcedIn is what an answer announces: in its headers, or in its document.
func announcedIn(t *testing.T, path string, answer Answer) string {
	t.Helper()
	said := map[string]string{
		"supported": answer.Header.Get(sparseregistry.SupportHeader), "architectures": answer.Header.Get(sparseregistry.ArchitecturesHeader),
		"platforms": answer.Header.Get(sparseregistry.PlatformsHeader), "without platform": answer.Header.Get(sparseregistry.WithoutPlatformHeader),
	}
	if path == sparseregistry.CapabilitiesPath {
		var document sparseregistry.Capabilities
		require.NoError(t, json.Unmarshal(answer.Body, &document))
		s := document.SparseManifests
		said = map[string]string{
			"supported": fmt.Sprint(s.Supported), "architectures": strings.Join(s.RequiredArchitectures, ","),
			"platforms": strings.Join(s.RequiredPlatforms, ","), "without platform": fmt.Sprint(s.RequiredWithoutPlatform),
		}
	}
	text := said["supported"]
	for _, name := range []string{"architectures", "platforms", "without platform"} {
		if said[name] != "" {
			text += "; " + name + " " + said[name]
		}
	}
	return text
}
