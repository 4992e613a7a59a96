package distributionconfig

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// everything is a file with all that is honoured.
const everything = `
version: 0.1
storage: &storage
  filesystem:
    rootdirectory: /srv/registry
    maxthreads: 50
  delete:
    enabled: true
  redirect:
    disable: true
  cache:
    blobdescriptor: inmemory
    blobdescriptorsize: 100
  tag:
    concurrencylimit: 8
  maintenance:
    uploadpurging:
      enabled: true
      age: 24h
      interval: 1h
      dryrun: false
    readonly:
      enabled: yes
auth:
  htpasswd:
    realm: basic-realm
    path: /etc/htpasswd
http:
  secret: shared
notifications:
  events:
    includereferences: true
  endpoints:
    - name: alice
      url: https://alice.example/events
      headers:
        Authorization: [Bearer x]
      timeout: 1s
      threshold: 5
      backoff: 2s
      ignore:
        actions: [pull]
redis:
  addrs: [localhost:6379]
  db: 1
  tls:
    rootcas: [/etc/ca.pem]
catalog:
  maxentries: 7
tags:
  maxtags: 8
validation:
  manifests:
    urls:
      allow: [^https://a/]
      deny: [b]
policy:
  repository:
    classes: [image]
`

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // the parser's log
	os.Exit(m.Run())
}

func TestWhatIsHonoured(t *testing.T) {
	s, err := load([]byte(everything), nil)
	require.NoError(t, err)
	assert.Equal(t, "/srv/registry", s.Storage)
	assert.Equal(t, "/etc/htpasswd", s.Htpasswd)
	assert.True(t, s.ReadOnly)
	assert.True(t, s.Delete)
	assert.Equal(t, []string{"auth.htpasswd.realm is not shown to clients: the realm is sparse-registry's own"}, s.Warnings)
	d := s.Distribution
	assert.Equal(t, "filesystem", d.Storage.Type())
	assert.Equal(t, 50, d.Storage.Parameters()["maxthreads"])
	assert.NotContains(t, d.Storage, "delete")
	assert.NotContains(t, d.Storage["maintenance"], "readonly")
	assert.Equal(t, map[any]any{"enabled": true, "age": "24h", "interval": "1h", "dryrun": false}, d.Storage["maintenance"]["uploadpurging"])
	assert.Equal(t, "inmemory", d.Storage["cache"]["blobdescriptor"])
	assert.Equal(t, true, d.Storage["redirect"]["disable"])
	assert.Empty(t, d.Auth)
	assert.Equal(t, "shared", d.HTTP.Secret)
	require.Len(t, d.Notifications.Endpoints, 1)
	assert.Equal(t, 2*time.Second, d.Notifications.Endpoints[0].Backoff)
	assert.Equal(t, []string{"localhost:6379"}, d.Redis.Options.Addrs)
	assert.Equal(t, 7, d.Catalog.MaxEntries)
	assert.Equal(t, 8, d.Tags.MaxTags)
	assert.Equal(t, []string{"^https://a/"}, d.Validation.Manifests.URLs.Allow)
	assert.EqualValues(t, "none", d.Validation.Manifests.Indexes.Platforms)
	assert.Equal(t, []string{"image"}, d.Policy.Repository.Classes)
}

func TestDefaultsAreDistributions(t *testing.T) {
	for _, content := range []string{
		"version: 0.1\nstorage: filesystem\n", "version: 0.1\nstorage:\n  filesystem:\n", "version: 0.1\nstorage:\n  filesystem: {}\nauth: none\n",
	} {
		s, err := load([]byte(content), []string{"HOME=/", "REGISTRYX=1"})
		require.NoError(t, err)
		assert.Equal(t, "/var/lib/registry", s.Storage)
		assert.Equal(t, "/var/lib/registry", s.Distribution.Storage.Parameters()["rootdirectory"])
		assert.False(t, s.Delete)
		assert.False(t, s.ReadOnly)
		assert.Empty(t, s.Distribution.Auth)
		assert.Empty(t, s.Warnings)
		assert.Equal(t, 1000, s.Distribution.Catalog.MaxEntries)
	}
}

func TestOtherStorageHasNoDirectory(t *testing.T) {
	s, err := load([]byte("version: 0.1\nstorage:\n  s3:\n    bucket: b\n  delete: {enabled: false}\nauth:\n  token: {realm: r, issuer: i, service: s, jwks: f}\n"), nil)
	require.NoError(t, err)
	assert.Empty(t, s.Storage)
	assert.Equal(t, "s3", s.Distribution.Storage.Type())
	assert.Equal(t, "token", s.Distribution.Auth.Type(), "distribution asks for tokens")
	assert.False(t, s.Delete)
}

func TestIndexesAreThePolicysBusiness(t *testing.T) {
	for _, indexes := range []string{"platforms: all", "platforms: list\n      platformlist: [{architecture: amd64, os: linux}]"} {
		s, err := load([]byte("version: 0.1\nstorage: filesystem\nvalidation:\n  manifests:\n    indexes:\n      "+indexes+"\n"), nil)
		require.NoError(t, err)
		assert.EqualValues(t, "none", s.Distribution.Validation.Manifests.Indexes.Platforms)
		assert.Empty(t, s.Distribution.Validation.Manifests.Indexes.PlatformList)
		require.Len(t, s.Warnings, 1)
		assert.Contains(t, s.Warnings[0], "validation.manifests.indexes is not in force")
	}
}

// TestEnvironment sets what the parser reads.
func TestEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY":            "/elsewhere",
		"REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED":   "false",
		"REGISTRY_STORAGE_DELETE_ENABLED":                      "true",
		"REGISTRY_AUTH":                                        "{htpasswd: {path: /h}}",
		"REGISTRY_HTTP_SECRET":                                 "s",
		"REGISTRY_REDIS_ADDRS":                                 "[r:1]",
		"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME":              "e",
		"REGISTRY_NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES": "true",
		"REGISTRY_PORT_5000_TCP":                               "tcp://10.0.0.1:5000",
	} {
		t.Setenv(name, value)
	}
	path := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(path, []byte("version: 0.1\nstorage: filesystem\n"), 0o600))
	s, err := Load(path)
	require.NoError(t, err)
	assert.Equal(t, "/elsewhere", s.Storage)
	assert.Equal(t, map[any]any{"enabled": false}, s.Distribution.Storage["maintenance"]["uploadpurging"])
	assert.True(t, s.Delete)
	assert.Equal(t, "/h", s.Htpasswd)
	assert.Equal(t, "s", s.Distribution.HTTP.Secret)
	assert.Equal(t, []string{"r:1"}, s.Distribution.Redis.Options.Addrs)
	require.Len(t, s.Distribution.Notifications.Endpoints, 1)
	assert.Equal(t, []string{"REGISTRY_PORT_5000_TCP in the environment is no part of distribution's configuration, and means nothing"}, s.Warnings)
}

func TestRefusals(t *testing.T) {
	const minimal = "version: 0.1\nstorage: filesystem\n"
	for _, c := range []struct {
		content     string
		environment string
		want        string
	}{
		{"", "", "is empty"},
		{"a: b: c", "", "yaml: mapping values are not allowed in this context"},
		{minimal + "---\n" + minimal, "", "has more than one document"},
		{"storage: filesystem\n", "", `unsupported version: ""`},
		{"version: 0.1\n", "", "no storage configuration provided"},
		{minimal, "REGISTRY_AUTH_FILE=/a", "environment variable REGISTRY_AUTH_FILE is Podman's and Skopeo's, and distribution takes it for its section auth: unset it here"},
		{minimal + "validaton: {}\n", "", "line 3: validaton is no key of distribution's configuration"},
		{minimal + "http:\n  scret: x\n", "", "line 4: http.scret is no key of distribution's configuration"},
		{minimal + "http:\n  addr: :5000\n  secret: x\nproxy:\n  remoteurl: https://x\n", "",
			"line 4: http.addr is not honoured: use --address\nline 6: proxy is not honoured: it is no pull-through cache: mirror with `mirror sync` (docs/sync.md)"},
		{minimal + "tags: {maxtags: 1}\ntags: {maxtags: 2}\n", "", "line 4: tags is there twice"},
		{minimal + "notifications:\n  endpoints:\n    - name: a\n      uri: x\n", "", "line 6: notifications.endpoints[0].uri is no key of distribution's configuration"},
		{minimal + "redis:\n  addrs: [a]\n  addrss: b\n", "", "line 5: redis.addrss is no key of distribution's configuration"},
		{minimal + "validation: {manifests: {urls: &u {allow: [x]}}}\nhttp:\n  <<: *u\n", "", "line 3: http.allow is no key of distribution's configuration"},
		{minimal + "validation: {manifests: {urls: &u {allow: [x]}}}\nhttp:\n  <<: [*u]\n", "", "line 3: http.allow is no key of distribution's configuration"},
		{"version: 0.1\nstorage: {inmemory: {}}\n", "", "storage.inmemory is not honoured: use a directory on a tmpfs; the driver loses tags"},
		{"version: 0.1\nstorage: {filesystem: {rootdir: /x}}\n", "", "storage.filesystem.rootdir is no key of distribution's configuration"},
		{minimal + "compatibility: {schema1: {enabled: true}}\n", "", "line 3: compatibility is not honoured: manifests of schema 1 are not taken; by distribution 3, neither"},
		{"version: 0.1\nstorage: {filesystem: {}, delete: {enable: true}}\n", "", "storage.delete.enable is no key of distribution's configuration"},
		{"version: 0.1\nstorage: {filesystem: {}, delete: {enabled: 1}}\n", "", "storage.delete.enabled: 1 is neither true nor false"},
		{"version: 0.1\nstorage: {filesystem: {}, maintenance: {purge: {}}}\n", "", "storage.maintenance.purge is no key of distribution's configuration"},
		{"version: 0.1\nstorage: {filesystem: {}, maintenance: {uploadpurging: {enable: true}}}\n", "", "storage.maintenance.uploadpurging.enable is no key of distribution's configuration"},
		{"version: 0.1\nstorage: {filesystem: {}, maintenance: {readonly: true}}\n", "", "storage.maintenance.readonly: is no section"},
		{"version: 0.1\nstorage: {filesystem: {}, maintenance: {readonly: {enabled: maybe}}}\n", "", "storage.maintenance.readonly.enabled: maybe is neither true nor false"},
		{minimal + "auth: {silly: {realm: a, service: b}}\n", "", "auth.silly is not honoured: use token, htpasswd or none"},
		{minimal + "auth: {htpasswd: {realm: a}}\n", "", "auth.htpasswd.path: names no file"},
		{minimal + "auth: {token: {realms: a}}\n", "", "auth.token.realms is no key of distribution's configuration"},
		{minimal, "REGISTRY_HTTP_ADDR=:1", "environment variable REGISTRY_HTTP_ADDR: http.addr is not honoured: use --address"},
		{minimal, "REGISTRY_HTTP_TLS_CERTIFICATE=x", "environment variable REGISTRY_HTTP_TLS_CERTIFICATE: http.tls is not honoured: use --tls-certificate and --tls-key"},
		{minimal, "REGISTRY_HTTP={}", "environment variable REGISTRY_HTTP: names all of http; the only key of it that is honoured is REGISTRY_HTTP_SECRET"},
		{minimal, "REGISTRY_REDIS_ADRS=x", "environment variable REGISTRY_REDIS_ADRS: redis.adrs is no key of distribution's configuration"},
		{minimal, "REGISTRY_NOTIFICATIONS_ENDPOINTS_NAME=x", `environment variable REGISTRY_NOTIFICATIONS_ENDPOINTS_NAME: notifications.endpoints is a sequence: "NAME" is no place in it`},
	} {
		_, err := load([]byte(c.content), strings.Fields(c.environment))
		assert.EqualError(t, err, c.want, "%s", c.content)
	}
}

// TestTwoOfOneKind are refused also where they come from the environment: there, the parser takes
// them, or panics.
func TestTwoOfOneKind(t *testing.T) {
	_, err := load([]byte("version: 0.1\nstorage: {filesystem: {}, s3: {}}\n"), nil)
	require.ErrorContains(t, err, "must provide exactly one storage type. Provided: [")
	t.Setenv("REGISTRY_AUTH_TOKEN_REALM", "r")
	_, err = load([]byte("version: 0.1\nstorage: filesystem\nauth: {htpasswd: {path: p}}\n"), nil)
	require.EqualError(t, err, "auth: has more than one type: htpasswd, token")
	t.Setenv("REGISTRY_STORAGE_S3_BUCKET", "b")
	_, err = load([]byte("version: 0.1\nstorage: filesystem\n"), nil)
	require.ErrorContains(t, err, "multiple storage drivers specified in configuration or environment: ")
}
