package sparseserver

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// A scrape is what /metrics answers: types by name, and values by name with labels, these in
// alphabetical order.
type scrape struct {
	types  map[string]string
	series map[string]float64
}

var metricLine = regexp.MustCompile(`^([a-z_]+(?:\{[^}]*\})?) (\S+)$`)

func scrapeMetrics(t *testing.T, client *sparsetest.Client, path string) scrape {
	t.Helper()
	answer := client.Do(t, http.MethodGet, path, nil, nil)
	require.Equal(t, http.StatusOK, answer.Status, "%s", answer.Body)
	s := scrape{types: map[string]string{}, series: map[string]float64{}}
	for line := range strings.Lines(string(answer.Body)) {
		line = strings.TrimSpace(line)
		if declared, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(declared, " ")
			s.types[name] = kind
		} else if found := metricLine.FindStringSubmatch(line); found != nil {
			value, err := strconv.ParseFloat(found[2], 64)
			require.NoError(t, err, line)
			require.NotContains(t, s.series, found[1], "exposed twice")
			s.series[found[1]] = value
		} else {
			require.True(t, strings.HasPrefix(line, "# HELP "), line)
		}
	}
	return s
}

// with are the series whose names begin with prefix, but for those that a test cannot know.
func (s scrape) with(prefix string) map[string]float64 {
	found := map[string]float64{}
	for name, value := range s.series {
		if strings.HasPrefix(name, prefix) {
			found[name] = value
		}
	}
	return found
}

// startMeasured starts a server with metrics, and returns a client for it and what asks for them.
func startMeasured(t *testing.T, c Config) (*sparsetest.Client, func() scrape) {
	t.Helper()
	c.MetricsAddress = "127.0.0.1:0"
	server, client := start(t, c)
	exporter := sparsetest.NewClient("http://" + server.MetricsAddress())
	return client, func() scrape {
		// Whatever was answered before has been counted when the next request is.
		t.Helper()
		return scrapeMetrics(t, exporter, "/metrics")
	}
}

// unknowable are series whose values depend on the time and on the length of random names.
var unknowable = regexp.MustCompile(`^registry_http_request_(duration_seconds|size_bytes)_(sum|bucket)`)

// TestRequestMetricsAreThoseOfDistribution sends the same requests to a server and to distribution
// alone, and compares what both have counted, and under which names.
func TestRequestMetricsAreThoseOfDistribution(t *testing.T) {
	global := prometheus.DefaultRegisterer // where distribution registers
	defer func() { prometheus.DefaultRegisterer = global }()
	theirs := prometheus.NewRegistry()
	prometheus.DefaultRegisterer = theirs
	config := &configuration.Configuration{Storage: configuration.Storage{
		"filesystem": {"rootdirectory": t.TempDir()}, "delete": {"enabled": true},
	}}
	config.Catalog.MaxEntries, config.Tags.MaxTags = maxCatalogEntries, maxTags
	config.HTTP.Debug.Prometheus.Enabled = true
	app := handlers.NewApp(t.Context(), config)
	defer func() { _ = app.Shutdown() }()
	plain := sparsetest.ServeHandler(t, app)
	exporter := sparsetest.ServeHandler(t, promhttp.HandlerFor(theirs, promhttp.HandlerOpts{}))

	client, ask := startMeasured(t, Config{})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	for _, c := range []*sparsetest.Client{plain, client} {
		c.Do(t, http.MethodGet, "/v2/", nil, nil)
		require.NoError(t, c.PushImage(t.Context(), f, "team/app", "amd64"))
		require.NoError(t, c.PushImage(t.Context(), f, "team/app", "arm64"))
		require.Equal(t, http.StatusCreated, c.Put(t, f, "team/app", "v1", "top").Status)
		for _, path := range []string{
			"manifests/v1", "manifests/" + f.Digest("amd64").String(), "manifests/absent", "tags/list",
			"blobs/" + f.Blobs("amd64")[0].String(), "blobs/" + digest.FromString("absent").String(),
		} {
			c.Do(t, http.MethodGet, "/v2/team/app/"+path, nil, nil)
			c.Do(t, http.MethodHead, "/v2/team/app/"+path, nil, nil)
		}
		c.Do(t, http.MethodGet, "/v2/_catalog", nil, nil)
		c.Do(t, http.MethodDelete, sparsetest.ManifestPath("team/app", "v1"), nil, nil)
		c.Do(t, "STRANGE", "/v2/", nil, nil)
	}
	known := func(s scrape) map[string]float64 {
		series := s.with("registry_http_")
		maps.DeleteFunc(series, func(name string, _ float64) bool { return unknowable.MatchString(name) })
		for _, handler := range []string{"capabilities", "referrers", "other"} { // which distribution has not
			delete(series, fmt.Sprintf(`registry_http_in_flight_requests{handler=%q}`, handler))
		}
		return series
	}
	want, got := scrapeMetrics(t, exporter, "/"), ask()
	assert.Greater(t, len(known(want)), 100)
	assert.Equal(t, known(want), known(got))
	for name, kind := range want.types {
		assert.Equal(t, kind, got.types[name], name)
	}
	for name := range want.with("registry_http_") { // buckets, too
		assert.Contains(t, got.series, name)
	}
}

// TestHandlerNamesAreThoseOfDistribution compares with distribution's router.
func TestHandlerNamesAreThoseOfDistribution(t *testing.T) {
	d := digest.FromString("content").String()
	router := v2.RouterWithPrefix("")
	for _, path := range []string{
		"/v2/", "/v2/_catalog", "/v2/app/tags/list", "/v2/app/manifests/v1", "/v2/app/manifests/" + d, "/v2/app/blobs/" + d,
		"/v2/app/blobs/uploads/", "/v2/app/blobs/uploads/3f0a", "/v2/a/b/manifests/tags/list", "/v2/manifests/manifests/v1",
		"/v2/blobs/uploads/blobs/uploads/", "/v2/blobs/uploads/blobs/uploads/3f0a", "/v2/tags/tags/list", "/v2/tags/list/manifests/x",
		"/v2/a/blobs/blobs/" + d, "/v2/a/b/c/d/blobs/uploads/x",
		"/", "/v3/", "/v2/app", "/v2/app/manifests/", "/v2/app/tags/others", "/v2/manifests/v1", "/v2/blobs/uploads/x", "/v2/tags/list",
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		require.NoError(t, err)
		want := "other"
		if match := (mux.RouteMatch{}); router.Match(r, &match) && match.Route.GetName() != "" {
			want = strings.ReplaceAll(match.Route.GetName(), "-", "_")
		}
		assert.Equal(t, want, handlerName(path), path)
	}
	assert.Equal(t, "capabilities", handlerName("/api/v1/registry/capabilities"))
	assert.Equal(t, "referrers", handlerName("/v2/team/app/referrers/"+d))
}

func TestLookupsAreNoRequestsOfClients(t *testing.T) {
	client, ask := startMeasured(t, Config{Policies: requireAMD64})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64", "s390x"))
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	before := ask()
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
	after := ask()
	changed := map[string]float64{}
	for name, value := range after.series {
		if (strings.HasPrefix(name, "registry_http_requests_total") || strings.HasPrefix(name, "sparse_registry_")) && value != before.series[name] {
			changed[name] = value - before.series[name]
		}
	}
	delete(changed, "sparse_registry_storage_free_bytes") // others have the same disk
	assert.Equal(t, map[string]float64{
		`registry_http_requests_total{code="201",handler="manifest",method="put"}`: 1,
		`sparse_registry_policy_lookups_total{code="200"}`:                         1,
		`sparse_registry_policy_lookups_total{code="404"}`:                         2,
	}, changed)
}

// TestRefusalsAreCounted: what clients write into a list is no label, unless a policy knows it.
func TestRefusalsAreCounted(t *testing.T) {
	client, ask := startMeasured(t, Config{Policies: sparseregistry.Policies{
		Rules: []sparseregistry.Rule{{Pattern: "team/*", Policy: requireAMD64.Default}},
	}})
	f := sparsetest.Fixture(false)
	for i := range 3 {
		f.Image(fmt.Sprintf("strange%d", i), imagetest.Platform(fmt.Sprintf("linux/strange%d", i)))
	}
	f.List("top", imagetest.Entries("amd64", "arm64", "plain", "strange0", "strange1", "strange2"))
	for range 2 {
		require.Equal(t, http.StatusBadRequest, client.Put(t, f, "app", "v1", "top").Status)
	}
	require.Equal(t, http.StatusBadRequest, client.Put(t, f, "team/app", "v1", "top").Status)
	put := func(body string, header http.Header) {
		client.Do(t, http.MethodPut, sparsetest.ManifestPath("app", "v1"), header, []byte(body))
	}
	put(`{"manifests":[],"Manifests":[]}`, nil)
	put(strings.Repeat(" ", manifest.MaxSize+1), nil)
	put(`{}`, http.Header{"Content-Encoding": {"gzip"}})
	s := ask()
	assert.Equal(t, map[string]float64{
		`sparse_registry_lists_refused_total{architecture="amd64",policy="(default)"}`: 2,
		`sparse_registry_lists_refused_total{architecture="arm64",policy="(default)"}`: 2,
		`sparse_registry_lists_refused_total{architecture="none",policy="(default)"}`:  2,
		`sparse_registry_lists_refused_total{architecture="other",policy="(default)"}`: 2,
		`sparse_registry_lists_refused_total{architecture="amd64",policy="team/*"}`:    1,
		`sparse_registry_lists_refused_total{architecture="none",policy="team/*"}`:     1,
	}, s.with("sparse_registry_lists_refused_total"))
	assert.Equal(t, map[string]float64{
		`sparse_registry_manifests_refused_total{reason="missing_children"}`: 3,
		`sparse_registry_manifests_refused_total{reason="invalid"}`:          1,
		`sparse_registry_manifests_refused_total{reason="too_large"}`:        1,
		`sparse_registry_manifests_refused_total{reason="encoded"}`:          1,
	}, s.with("sparse_registry_manifests_refused_total"))
	assert.Equal(t, 4.0, s.series[`registry_http_requests_total{code="400",handler="manifest",method="put"}`])
}

func TestDenialsAreCountedByReason(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(file, []byte("alice:"+string(hash)+"\n"), 0o600))
	client, ask := startMeasured(t, Config{Htpasswd: file})
	get := func(path, password string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		require.NoError(t, err)
		if password != "" {
			r.SetBasicAuth("alice", password)
		}
		client.Do(t, http.MethodGet, path, r.Header, nil)
	}
	get("/v2/", "")
	get("/v2/", "")
	get("/v2/app/manifests/v1", "wrong")
	get("/v2/", "secret")
	get("/healthz", "")
	s := ask()
	assert.Equal(t, map[string]float64{
		`sparse_registry_denied_total{code="401",reason="no_credentials"}`:    2,
		`sparse_registry_denied_total{code="401",reason="wrong_credentials"}`: 1,
	}, s.with("sparse_registry_denied_total"))
	assert.Equal(t, map[string]float64{
		`registry_http_requests_total{code="200",handler="base",method="get"}`:     1,
		`registry_http_requests_total{code="401",handler="base",method="get"}`:     2,
		`registry_http_requests_total{code="401",handler="manifest",method="get"}`: 1,
	}, s.with("registry_http_requests_total"))
}

func TestAHandlerThatPanicsIsCounted(t *testing.T) {
	m := newMetrics()
	log := logBuffer{}
	h := withRequestLog(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), log.logger(), m)
	client := sparsetest.ServeHandler(t, h)
	_, err := client.Try(t.Context(), http.MethodDelete, "/v2/", nil, nil)
	require.Error(t, err)
	s := scrapeMetrics(t, sparsetest.ServeHandler(t, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})), "/")
	assert.Equal(t, map[string]float64{
		`registry_http_requests_total{code="500",handler="base",method="delete"}`: 1,
	}, s.with("registry_http_requests_total"))
	assert.Zero(t, s.series[`registry_http_in_flight_requests{handler="base"}`])
}

// TestEachServerCountsForItself: but distribution's storage is the process's.
func TestEachServerCountsForItself(t *testing.T) {
	first, askFirst := startMeasured(t, Config{})
	_, askSecond := startMeasured(t, Config{})
	first.Do(t, http.MethodGet, "/v2/", nil, nil)
	const name = `registry_http_requests_total{code="200",handler="base",method="get"}`
	assert.Equal(t, 1.0, askFirst().series[name])
	s := askSecond()
	assert.NotContains(t, s.series, name)
	for _, name := range []string{
		"go_goroutines", "process_resident_memory_bytes", "sparse_registry_build_info", "registry_storage_action_seconds", "registry_storage_cache_requests_total",
	} {
		assert.Contains(t, slices.Collect(maps.Keys(s.types)), name)
	}
	assert.Equal(t, http.StatusNotFound, first.Do(t, http.MethodGet, "/metrics", nil, nil).Status)
}
