package sparseregistry_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// guarded is a registry that lets "Basic team" pull from what is below team, whether it exists or
// not, "Basic slow" never now, and everybody ask for /v2/.
func guarded() *spy {
	return &spy{respond: func(w http.ResponseWriter, r *http.Request) {
		switch repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/"); {
		case r.Header.Get("Authorization") == "Basic slow":
			w.WriteHeader(http.StatusTooManyRequests)
		case r.URL.Path == "/v2/":
		case r.Header.Get("Authorization") != "Basic team":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.HasPrefix(repository, "team/"):
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}}
}

var perRepository = sparseregistry.Policies{
	Default: manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64"}},
	Rules: []sparseregistry.Rule{
		{Pattern: "team/off", Policy: manifest.SparsePolicy{}},
		{Pattern: "team/arm", Policy: manifest.SparsePolicy{
			Enabled: true, RequiredArchitectures: []string{"s390x", "ppc64le"}, RequiredPlatforms: []string{"linux/arm/v7", "linux/amd64"}, OptionalWithoutPlatform: true,
		}},
		{Pattern: "team/**", Policy: manifest.SparsePolicy{Enabled: true}},
		{Pattern: "secret/*", Policy: manifest.SparsePolicy{Enabled: true}},
	},
}

const (
	strictest = `{"sparse_manifests":{"supported":false,"required_architectures":[],"required_platforms":[],` +
		`"required_without_platform":true,"widening":false}}`
	free = `{"sparse_manifests":{"supported":true,"required_architectures":[],"required_platforms":[],` +
		`"required_without_platform":false,"widening":true}}`
	arm = `{"sparse_manifests":{"supported":true,"required_architectures":["s390x","ppc64le"],"required_platforms":["linux/arm/v7","linux/amd64"],` +
		`"required_without_platform":false,"widening":true}}`
	byDefault = `{"sparse_manifests":{"supported":true,"required_architectures":["amd64"],"required_platforms":[],` +
		`"required_without_platform":true,"widening":true}}`
)

func TestTheAnnouncementIsForOneRepositoryToWhomMayPullFromIt(t *testing.T) {
	mine, all := perRepository, perRepository
	all.Rules = nil
	for _, c := range []struct {
		authorization, query string
		policies             sparseregistry.Policies
		want                 string
		asked                int // requests of the registry behind
	}{
		{"Basic team", "", mine, strictest, 0},
		{"Basic team", "?repository=team/off", mine, strictest, 1},
		{"Basic team", "?repository=team%2Farm", mine, arm, 1},
		{"Basic team", "?other=x&repository=team/no/such", mine, free, 1},
		{"Basic team", "?repository=secret/app", mine, strictest, 1},
		{"Basic team", "?repository=secret/app", all, byDefault, 0},
		{"Basic team", "?repository=team/arm&repository=team/arm", mine, strictest, 0},
		{"Basic team", "?repository=", mine, strictest, 0},
		{"Basic team", "?repository=team/ARM", mine, strictest, 0},
		{"Basic team", "?repository=team/x/../arm", mine, strictest, 0},
		{"Basic team", "?repository=team/%", mine, strictest, 0},
		{"Basic slow", "?repository=team/arm", mine, strictest, 1},
		{"", "?repository=team/arm", mine, strictest, 1},
		{"Basic other", "?repository=team/arm", mine, strictest, 1},
	} {
		behind := guarded()
		h := sparseregistry.Announce(behind, func() sparseregistry.Policies { return c.policies })
		answer := ask(h, http.MethodGet, sparseregistry.CapabilitiesPath+c.query, c.authorization)
		assert.Equal(t, http.StatusOK, answer.Code)
		assert.Equal(t, "application/json", answer.Header().Get("Content-Type"))
		assert.Equal(t, c.want+"\n", answer.Body.String(), "%+v", c)
		assert.Len(t, behind.of(http.MethodHead), c.asked, "%+v", c)
		assert.Empty(t, behind.of(http.MethodGet))

		for _, method := range []string{http.MethodGet, http.MethodHead} {
			said := ask(h, method, "/v2/"+c.query, c.authorization).Header()
			assert.Equal(t, headersOf[c.want], http.Header{
				"Support": said.Values(sparseregistry.SupportHeader), "Archs": said.Values(sparseregistry.ArchitecturesHeader),
				"Platforms": said.Values(sparseregistry.PlatformsHeader), "Without": said.Values(sparseregistry.WithoutPlatformHeader),
				"Widening": said.Values(sparseregistry.WideningHeader),
			}, "%+v", c)
		}
	}
}

// headersOf are the headers that say the same as a document.
var headersOf = map[string]http.Header{
	strictest: {"Support": {"false"}, "Archs": nil, "Platforms": nil, "Without": {"true"}, "Widening": nil},
	free:      {"Support": {"true"}, "Archs": nil, "Platforms": nil, "Without": {"false"}, "Widening": {"true"}},
	arm:       {"Support": {"true"}, "Archs": {"s390x,ppc64le"}, "Platforms": {"linux/arm/v7,linux/amd64"}, "Without": {"false"}, "Widening": {"true"}},
	byDefault: {"Support": {"true"}, "Archs": {"amd64"}, "Platforms": nil, "Without": {"true"}, "Widening": {"true"}},
}

// TestTheAnnouncementTellsStrangersNothing compares what callers without the right to pull are
// answered, with what they are answered without naming a repository.
func TestTheAnnouncementTellsStrangersNothing(t *testing.T) {
	h := sparseregistry.Announce(guarded(), func() sparseregistry.Policies { return perRepository })
	for _, authorization := range []string{"", "Basic other", "Basic team"} {
		for _, path := range []string{sparseregistry.CapabilitiesPath, "/v2/"} {
			want := ask(h, http.MethodGet, path, authorization)
			for _, repository := range []string{"secret/app", "secret/other", "no/such", "base", "SECRET/app", "", strings.Repeat("a", 300)} {
				got := ask(h, http.MethodGet, path+"?repository="+url.QueryEscape(repository), authorization)
				assert.Equal(t, want.Code, got.Code)
				assert.Equal(t, want.Header(), got.Header(), repository)
				assert.Equal(t, want.Body.String(), got.Body.String(), repository)
			}
		}
	}
}

func ask(h http.Handler, method, target, authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
