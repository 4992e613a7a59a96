package sparseserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/notifications"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry/sparsetest"
)

// inDirectory is a configuration of distribution over a directory.
func inDirectory(dir string) *configuration.Configuration {
	return &configuration.Configuration{
		Storage: configuration.Storage{"filesystem": {"rootdirectory": dir}},
		Catalog: configuration.Catalog{MaxEntries: 100}, Tags: configuration.Tags{MaxTags: 100},
	}
}

// A listener is an endpoint for notifications.
type listener struct {
	server *httptest.Server
	mu     sync.Mutex
	events []string // action and digest or tag; guarded by mu
}

func newListener(t *testing.T) *listener {
	l := &listener{}
	l.server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var envelope struct{ Events []notifications.Event }
		if err := json.NewDecoder(r.Body).Decode(&envelope); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, e := range envelope.Events {
			l.events = append(l.events, e.Action+" "+e.Target.Digest.String())
		}
	}))
	t.Cleanup(l.server.Close)
	return l
}

func (l *listener) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.events...)
}

// TestNotifications are sent of what clients do, and of nothing else: the policy, which asks for
// the children of a list, pulls nothing.
func TestNotifications(t *testing.T) {
	l := newListener(t)
	dir := t.TempDir()
	config := inDirectory(dir)
	config.Notifications.Endpoints = []configuration.Endpoint{{
		Name: "listener", URL: l.server.URL, Timeout: time.Minute, Threshold: 1, Backoff: time.Millisecond,
	}}
	_, client := start(t, Config{Storage: dir, Distribution: config, Policies: requireAMD64})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
	require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
	require.Equal(t, http.StatusOK, client.Get(t, http.MethodGet, "app", "v1").Status)
	list := f.Digest("top").String()
	require.Eventually(t, func() bool {
		heard := l.heard()
		return len(heard) > 0 && heard[len(heard)-1] == "pull "+list
	}, time.Minute, time.Millisecond, "events come in order: this is the last")
	var manifests []string
	for _, event := range l.heard() {
		if action, of, _ := strings.Cut(event, " "); of == list || of == f.Digest("amd64").String() || action != "push" {
			manifests = append(manifests, event)
		}
	}
	assert.Equal(t, []string{"push " + f.Digest("amd64").String(), "push " + list, "pull " + list}, manifests)
}

// TestTheCacheForgetsWhatIsDeleted pushes, deletes and pushes again over distribution's cache.
func TestTheCacheForgetsWhatIsDeleted(t *testing.T) {
	dir := t.TempDir()
	config := inDirectory(dir)
	config.Storage["cache"] = configuration.Parameters{"blobdescriptor": "inmemory"}
	_, client := start(t, Config{Storage: dir, Distribution: config, Policies: requireAMD64})
	f := sparsetest.Fixture(false)
	f.List("top", imagetest.Entries("amd64", "arm64"))
	child := sparsetest.ManifestPath("app", f.Digest("amd64").String())
	for range 2 {
		require.NoError(t, client.PushImage(t.Context(), f, "app", "amd64"))
		require.Equal(t, http.StatusCreated, client.Put(t, f, "app", "v1", "top").Status)
		require.Equal(t, http.StatusAccepted, client.Do(t, http.MethodDelete, child, nil, nil).Status)
		assert.Equal(t, http.StatusBadRequest, client.Put(t, f, "app", "v1", "top").Status)
		assert.Equal(t, http.StatusNotFound, client.Get(t, http.MethodHead, "app", f.Digest("amd64").String()).Status)
	}
}

func TestDistributionsConfigurationIsRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*configuration.Configuration)
		want   string
	}{
		{
			"a driver of another program", func(c *configuration.Configuration) { c.Storage = configuration.Storage{"s3": {}} },
			`opening the storage: the driver "s3" is not in this program: build examples/sparse-registry-cloud with -tags s3`,
		},
		{
			"no driver", func(c *configuration.Configuration) { c.Storage = configuration.Storage{"oss": {}} },
			`opening the storage: the driver "oss" is not in this program: use filesystem, or s3, gcs or azure as examples/sparse-registry-cloud has them`,
		},
		{
			"what distribution panics of", func(c *configuration.Configuration) { c.Storage["redirect"] = configuration.Parameters{"disable": "x"} },
			`starting the registry: invalid type for redirect config: configuration.Parameters{"disable":"x"}`,
		},
		{
			"a cache that is not there", func(c *configuration.Configuration) {
				c.Storage["cache"] = configuration.Parameters{"blobdescriptor": "redis"}
			},
			"starting the registry: redis configuration required to use for layerinfo cache",
		},
		{
			"an expression", func(c *configuration.Configuration) { c.Validation.Manifests.URLs.Deny = []string{"("} },
			"URLs of layers to deny: error parsing regexp: missing closing ): `(`",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			config := inDirectory(dir)
			c.change(config)
			_, err := Start(Config{Address: "127.0.0.1:0", Storage: dir, Distribution: config})
			require.EqualError(t, err, c.want)
			start(t, Config{Storage: dir}) // the storage is free
		})
	}
}

// TestLayerURLsOfDistribution are those of validation.manifests.urls.
// TestWhoRemovesUploads: distribution does where the file says so, or where there is no directory
// in which we do, but never for a server that is read-only.
func TestWhoRemovesUploads(t *testing.T) {
	age := map[any]any{"enabled": true, "age": "24h", "interval": "1h", "dryrun": false}
	off := map[any]any{"enabled": false}
	type sections = map[string]configuration.Parameters
	for name, c := range map[string]struct {
		config  Config
		storage sections
		want    any // nil is distribution's default: on
	}{
		"a directory":                {Config{Storage: "/d"}, nil, off},
		"that says nothing of it":    {Config{Storage: "/d"}, sections{"filesystem": {}, "maintenance": {}}, off},
		"that says when":             {Config{Storage: "/d"}, sections{"filesystem": {}, "maintenance": {"uploadpurging": age}}, age},
		"an object store":            {Config{}, sections{"s3": {}}, nil},
		"read-only":                  {Config{Storage: "/d", ReadOnly: true}, sections{"filesystem": {}, "maintenance": {}}, off},
		"read-only, and says when":   {Config{Storage: "/d", ReadOnly: true}, sections{"filesystem": {}, "maintenance": {"uploadpurging": age}}, off},
		"read-only, an object store": {Config{ReadOnly: true}, sections{"s3": {}}, off},
	} {
		if c.storage != nil {
			c.config.Distribution = &configuration.Configuration{Storage: c.storage}
		}
		config, err := c.config.distribution()
		require.NoError(t, err, name)
		assert.Equal(t, c.want, config.Storage["maintenance"]["uploadpurging"], name)
	}
}

func TestLayerURLsOfDistribution(t *testing.T) {
	for _, c := range []struct {
		validation configuration.Validation
		allow      string
		url        string
		status     int
	}{
		{configuration.Validation{}, "", "https://a.example/x", 400},
		{urlsOf([]string{"^https://a"}, nil), "", "https://a.example/x", 201},
		{urlsOf([]string{"^https://a"}, nil), "", "https://b.example/x", 400},
		{urlsOf([]string{"^https://a"}, nil), "^https://b", "https://b.example/x", 201},
		{urlsOf(nil, []string{"evil"}), "", "https://b.example/x", 201},
		{urlsOf(nil, []string{"evil"}), "", "https://evil.example/x", 400},
		{urlsOf([]string{"^https://a"}, []string{"evil"}), "", "https://a.example/evil", 400},
		{configuration.Validation{Disabled: true}, "", "https://b.example/x", 201},
		{configuration.Validation{Disabled: true}, "", "ftp://b.example/x", 400},
	} {
		dir := t.TempDir()
		config := inDirectory(dir)
		config.Validation = c.validation
		_, client := start(t, Config{Storage: dir, Distribution: config, AllowLayerURLs: c.allow})
		answer := putImage(t, client, ociImage, ociForeign, digest.FromString("absent"), `["`+c.url+`"]`)
		assert.Equal(t, c.status, answer.Status, "%+v: %s", c, answer.Body)
		if c.status == http.StatusBadRequest {
			assert.Equal(t, "MANIFEST_INVALID", answer.Errors()[0].Code)
		}
	}
}

func urlsOf(allow, deny []string) configuration.Validation {
	return configuration.Validation{Manifests: configuration.ValidationManifests{URLs: configuration.URLs{Allow: allow, Deny: deny}}}
}
