package registrycmd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/buildinfo"
	"github.com/sparsecopy/sparsecopy/examples/internal/sparseserver"
	"github.com/sparsecopy/sparsecopy/internal/clock/clocktest"
	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
	"github.com/sparsecopy/sparsecopy/manifest"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // distribution's log
	os.Exit(m.Run())
}

// load loads options from flags, environment, and a file whose name replaces FILE; "" for no file.
func load(t *testing.T, args []string, variables map[string]string, file string) (options, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.yaml")
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		args = append([]string{"--config", path}, args...)
	}
	var env environment
	for name, value := range variables {
		env = append(env, name+"="+value)
	}
	cmd := command(env, io.Discard)
	require.NoError(t, cmd.ParseFlags(args))
	return loadOptions(cmd, env)
}

func TestPrecedence(t *testing.T) {
	type env = map[string]string
	const file = "storage: /file\nFEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: [amd64, s390x]\n"
	for _, c := range []struct {
		name string
		args []string
		env  env
		file string
		want manifest.SparsePolicy
		dir  string
	}{
		{"defaults", []string{"--storage=/flag"}, nil, "", manifest.SparsePolicy{}, "/flag"},
		{"file", nil, nil, file, manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64", "s390x"}}, "/file"},
		{
			"environment over file", nil,
			env{"FEATURE_SPARSE_INDEX": "false", "SPARSE_INDEX_REQUIRED_ARCHS": "arm64, amd64", "SPARSE_REGISTRY_STORAGE": "/env"}, file,
			manifest.SparsePolicy{RequiredArchitectures: []string{"arm64", "amd64"}}, "/env",
		},
		{
			"empty environment is unset", nil, env{"FEATURE_SPARSE_INDEX": "", "SPARSE_INDEX_REQUIRED_ARCHS": ""}, file,
			manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"amd64", "s390x"}}, "/file",
		},
		{
			"flag over environment and file",
			[]string{"--feature-sparse-index", "--sparse-index-required-archs=386", "--sparse-index-optional-without-platform", "--storage", "/flag"},
			env{"FEATURE_SPARSE_INDEX": "false", "SPARSE_INDEX_REQUIRED_ARCHS": "arm64"}, file,
			manifest.SparsePolicy{Enabled: true, RequiredArchitectures: []string{"386"}, OptionalWithoutPlatform: true}, "/flag",
		},
		{
			"an empty flag is a value", []string{"--sparse-index-required-archs="}, nil, file,
			manifest.SparsePolicy{Enabled: true}, "/file",
		},
		{
			"a scalar in the file", nil, nil, "storage: /file\nSPARSE_INDEX_REQUIRED_ARCHS: amd64,arm64\n",
			manifest.SparsePolicy{RequiredArchitectures: []string{"amd64", "arm64"}}, "/file",
		},
		{
			"an empty sequence in the file", nil, nil, "storage: /file\nSPARSE_INDEX_REQUIRED_ARCHS: []\n",
			manifest.SparsePolicy{}, "/file",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := load(t, c.args, c.env, c.file)
			require.NoError(t, err)
			assert.Equal(t, c.want, o.server.Policies.Default)
			assert.Equal(t, c.dir, o.server.Storage)
			assert.Equal(t, "127.0.0.1:5000", o.server.Address)
			assert.Equal(t, 5*time.Minute, o.drainTimeout)
		})
	}
}

func TestEverySettingCanBeGivenInEveryWay(t *testing.T) {
	want := options{log: logForm{json: true, level: slog.LevelWarn}, drainDelay: time.Minute, drainTimeout: time.Second, allowDelete: new(bool)}
	want.server.Address, want.server.Storage = "h:1", "/s"
	want.server.Certificate, want.server.Key, want.server.Htpasswd, want.server.MetricsAddress = "c", "k", "p", "m:2"
	want.server.Policies.Default = manifest.SparsePolicy{
		Enabled: true, RequiredArchitectures: []string{"amd64"}, RequiredPlatforms: []string{"linux/arm/v7", "windows/amd64"}, OptionalWithoutPlatform: true,
	}
	want.server.Policies.Rules = []sparseregistry.Rule{{Pattern: "team/*"}}
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte("rules: [{repositories: team/*, sparse-lists: off}]\n"), 0o600))
	want.server.ReadOnly, want.server.NoDelete, want.server.RelativeURLs, want.server.AnonymousPull = true, true, true, true
	want.server.ExternalURL, want.server.AllowLayerURLs = "https://r:3", "^https://u/"
	want.server.Control = "c.sock"
	want.server.MinFreeSpace = 1_500_000_000
	want.server.UploadAge, want.server.TemporaryAge = 2*time.Hour, 3*time.Hour
	values := map[string]string{
		"min-free-space": "1.5GB", "drain-delay": "1m", "upload-age": "2h", "temporary-age": "3h", "log-format": "json", "log-level": "warn",
		"address": "h:1", "storage": "/s", "tls-certificate": "c", "tls-key": "k", "htpasswd": "p", "metrics-address": "m:2", "control": "c.sock",
		"drain-timeout": "1s", "feature-sparse-index": "true", "sparse-index-required-archs": "amd64",
		"sparse-index-required-platforms": "linux/arm/v7,windows/amd64", "policies": policies,
		"sparse-index-optional-without-platform": "1",
		"read-only":                              "true", "delete": "false", "relative-urls": "true", "external-url": "https://r:3", "allow-layer-urls": "^https://u/",
		"anonymous-pull":      "true",
		"distribution-config": "", // which says what others say: see TestDistributionConfig
	}
	var args []string
	environment, file := map[string]string{}, ""
	for _, s := range settings {
		if values[s.flag] == "" {
			continue
		}
		args = append(args, "--"+s.flag+"="+values[s.flag])
		environment[s.env] = values[s.flag]
		file += s.key + ": " + values[s.flag] + "\n"
	}
	for name, get := range map[string]func() (options, error){
		"flags":       func() (options, error) { return load(t, args, nil, "") },
		"environment": func() (options, error) { return load(t, nil, environment, "") },
		"file":        func() (options, error) { return load(t, nil, nil, file) },
	} {
		got, err := get()
		require.NoError(t, err, name)
		assert.Equal(t, values, got.values, name)
		assert.True(t, got.whole[policies], name)
		got.values, got.whole = nil, nil
		assert.Equal(t, want, got, name)
	}
}

func TestErrorsNameTheirSource(t *testing.T) {
	for _, c := range []struct {
		args []string
		env  map[string]string
		file string
		err  string // after the file's directory
	}{
		{[]string{"--sparse-index-required-archs=AMD64"}, nil, "", `flag --sparse-index-required-archs: required architecture "AMD64" must be in lower case: "amd64"`},
		{[]string{"--storage=/s", "--anonymous-pull"}, nil, "", "anonymous pull is for registries with users: set --htpasswd; with token authentication, the token server decides who may pull"},
		{[]string{"--delete=0.5"}, nil, "", `flag --delete: "0.5" is neither true nor false`},
		{[]string{"--allow-layer-urls=*"}, nil, "", "flag --allow-layer-urls: error parsing regexp: missing argument to repetition operator: `*`"},
		{[]string{"--feature-sparse-index=maybe"}, nil, "", `flag --feature-sparse-index: "maybe" is neither true nor false`},
		{[]string{"--drain-timeout=0"}, nil, "", `flag --drain-timeout: "0" is not positive`},
		{[]string{"--log-format=xml"}, nil, "", `flag --log-format: "xml" is neither text nor json`},
		{[]string{"--log-level=INFO"}, nil, "", `flag --log-level: "INFO" is none of debug, info, warn and error`},
		{[]string{"--drain-delay=-1s"}, nil, "", `flag --drain-delay: "-1s" is negative`},
		{[]string{"--drain-delay=5"}, nil, "", `flag --drain-delay: "5" is no duration: write it as 30s, 5m or 168h`},
		{[]string{"--min-free-space=-1"}, nil, "", `flag --min-free-space: "-1" is no size: write it as 500MB or 1.5GiB`},
		{[]string{"--min-free-space=5%"}, nil, "", `flag --min-free-space: "5%" is no size`},
		{[]string{"--min-free-space=5Gi"}, nil, "", `flag --min-free-space: "5Gi" has a unit that is none of B, kB`},
		{[]string{"--min-free-space=1e9"}, nil, "", `flag --min-free-space: "1e9" is no size`},
		{[]string{"--min-free-space=99999999TB"}, nil, "", `flag --min-free-space: "99999999TB" is too large`},
		{nil, map[string]string{"FEATURE_SPARSE_INDEX": "yes"}, "", `environment variable FEATURE_SPARSE_INDEX: "yes" is neither true nor false`},
		{nil, map[string]string{"SPARSE_INDEX_REQUIRED_ARCHS": "amd64,,arm64"}, "", `environment variable SPARSE_INDEX_REQUIRED_ARCHS: unknown required architecture ""`},
		{nil, nil, "# policy\nSPARSE_INDEX_REQUIRED_ARCHS: [amd64, amd46]\n", `config.yaml:2: SPARSE_INDEX_REQUIRED_ARCHS: unknown required architecture "amd46"`},
		{nil, nil, "SPARSE_INDEX_REQUIRED_PLATFORMS: [linux/arm/v7, linux/arm/7]\n", `config.yaml:1: SPARSE_INDEX_REQUIRED_PLATFORMS: required platform "linux/arm/7": unknown variant "7"`},
		{[]string{"--policies=/does/not/exist"}, nil, "", "flag --policies: open /does/not/exist: no such file or directory"},
		{nil, nil, "SPARSE_INDEX_REQUIRED_ARCHS:\n", `config.yaml:1: SPARSE_INDEX_REQUIRED_ARCHS: has no value`},
		{nil, nil, "FEATURE_SPARSE_INDEX: {}\n", `config.yaml:1: FEATURE_SPARSE_INDEX: must be a value or a sequence of values`},
		{[]string{"--address=5000"}, nil, "", `flag --address: "5000" is not of the form HOST:PORT, such as 0.0.0.0:5000`},
		{nil, nil, "metrics-address: 127.0.0.1:99999\n", `config.yaml:1: metrics-address: "127.0.0.1:99999" is not of the form HOST:PORT`},
		{nil, nil, "storage: [a, b]\n", `config.yaml:1: storage: is a sequence, and takes one value`},
		{nil, nil, "storage: a\nFEATURE_SPARSE_INDEXES: true\n", `config.yaml:2: unknown setting "FEATURE_SPARSE_INDEXES": did you mean FEATURE_SPARSE_INDEX?`},
		{nil, nil, "storage: a\ntls: {}\n", `config.yaml:2: unknown setting "tls" (known: address, storage, `},
		{nil, nil, "version: 0.1\nstorage: {filesystem: {}}\n", `config.yaml:1: unknown setting "version": it is of plain distribution's configuration, which --distribution-config names`},
		{nil, nil, "sparse-index-required-archs: amd64\n", `config.yaml:1: unknown setting "sparse-index-required-archs": write it as SPARSE_INDEX_REQUIRED_ARCHS`},
		{nil, nil, "SPARSE_REGISTRY_READ_ONLY: true\n", `config.yaml:1: unknown setting "SPARSE_REGISTRY_READ_ONLY": write it as read-only`},
		{nil, nil, "storage: a\nstorage: b\n", `config.yaml:2: storage is set twice`},
		{nil, nil, "- storage\n", `config.yaml:1: not a mapping of settings`},
		{nil, nil, "storage: a\n---\nstorage: b\n", `config.yaml: more than one document`},
		{nil, nil, "storage: [\n", `config.yaml: yaml: `},
		{[]string{"--config=/does/not/exist"}, nil, "", "file of settings: open /does/not/exist: no such file or directory"},
		{nil, map[string]string{"SPARSE_REGISTRY_CONFIG": "/does/not/exist"}, "", "file of settings: open /does/not/exist: no such file or directory"},
		{nil, nil, "", "no storage directory: set --storage, SPARSE_REGISTRY_STORAGE or storage in the file"},
	} {
		_, err := load(t, c.args, c.env, c.file)
		assert.ErrorContains(t, err, c.err)
	}
}

// TestTheEnvironmentIsNotPassedOver: a variable that is mistyped is refused, as a key of the file
// is, and so are plain distribution's without its file. What others name alike means nothing.
func TestTheEnvironmentIsNotPassedOver(t *testing.T) {
	for variable, refusal := range map[string]string{
		"SPARSE_INDEX_REQUIRED_ARCH=amd64":         "environment variable SPARSE_INDEX_REQUIRED_ARCH: unknown setting: did you mean SPARSE_INDEX_REQUIRED_ARCHS?",
		"SPARSE_REGISTRY_FEATURE_SPARSE_INDEX=1":   "environment variable SPARSE_REGISTRY_FEATURE_SPARSE_INDEX: unknown setting: write it as FEATURE_SPARSE_INDEX",
		"FEATURE_SPARSE_INDICES=true":              "environment variable FEATURE_SPARSE_INDICES: unknown setting: did you mean FEATURE_SPARSE_INDEX?",
		"SPARSE_REGISTRY_PORT=5001":                "environment variable SPARSE_REGISTRY_PORT: unknown setting",
		"SPARSE_REGISTRY_PORT=tcp://10.0.0.1:5000": "",
		"SPARSE_REGISTRY_PORT_5000_TCP_ADDR=x":     "",
		"SPARSE_REGISTRY_SERVICE_PORT_METRICS=1":   "",
		"SPARSE_INDEX_REQUIRED_ARCH=":              "",
		"REGISTRY_AUTH=htpasswd":                   "REGISTRY_AUTH: plain distribution's variables are read only beside its configuration: name that with --distribution-config FILE",
		"REGISTRY_HTTP_ADDR=:443":                  "REGISTRY_HTTP_ADDR: plain distribution's",
		"REGISTRY_HTTP_SERVICE_HOST=10.0.0.1":      "",
		"REGISTRY_AUTH_FILE=/auth.json":            "",
		"REGISTRY_PORT=5000":                       "",
	} {
		name, value, _ := strings.Cut(variable, "=")
		_, err := load(t, []string{"--storage=/s"}, map[string]string{name: value}, "")
		if refusal == "" {
			assert.NoError(t, err, variable)
			continue
		}
		assert.ErrorContains(t, err, refusal)
	}
	err := environment{"REGISTRY_STORAGE=s3", "REGISTRY_AUTH=token"}.refuseUnknown(false)
	assert.ErrorContains(t, err, "REGISTRY_AUTH, REGISTRY_STORAGE: plain", "all are named")
	assert.NoError(t, environment{"REGISTRY_STORAGE=s3"}.refuseUnknown(true))
}

// A buffer can be read while it is written.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startCommand runs the command with a free port until the test ends, or stop is called, which
// returns what the command does.
func startCommand(t *testing.T, log *buffer, args ...string) (url string, stop func() error) {
	t.Helper()
	return startCommandSaying(t, `url=(\S+)`, log, args...)
}

// startCommandSaying is startCommand for another form of the log, in which address finds the URL.
func startCommandSaying(t *testing.T, address string, log *buffer, args ...string) (url string, stop func() error) {
	t.Helper()
	cmd := command(nil, log)
	cmd.SetArgs(append([]string{"--address=127.0.0.1:0", "--drain-delay=0"}, args...))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	found := regexp.MustCompile(address)
	require.Eventually(t, func() bool { return found.MatchString(log.String()) }, time.Minute, time.Millisecond)
	return found.FindStringSubmatch(log.String())[1], stop
}

// TestCommand runs the command until it is told to stop.
func TestCommand(t *testing.T) {
	var log buffer
	url, stop := startCommand(t, &log, "--storage", t.TempDir(), "--sparse-index-required-archs=amd64")
	answer, err := http.Get(url + "/v2/")
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	require.NoError(t, stop())
	assert.Contains(t, log.String(), "sparse_lists=false required_architectures=[amd64]")
	assert.Contains(t, log.String(), "required architectures and platforms mean nothing while sparse lists are off")
	assert.Contains(t, log.String(), "msg=stopped")
}

// TestStopping has a server stop by a clock of the test: until the delay is over, it answers, and
// says that it stops.
func TestStopping(t *testing.T) {
	server, err := sparseserver.Start(sparseserver.Config{Address: "127.0.0.1:0", Storage: t.TempDir()})
	require.NoError(t, err)
	defer server.Close()
	status := func(path string) int {
		answer, err := http.Get(server.URL() + path)
		if err != nil {
			return 0
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	require.Equal(t, http.StatusOK, status("/readyz"))
	now := clocktest.New(time.Time{})
	stopped := make(chan error, 1)
	go func() {
		stopped <- stop(t.Context(), now, server, slog.New(slog.DiscardHandler), options{log: logForm{json: true, level: slog.LevelWarn}, drainDelay: time.Minute, drainTimeout: time.Minute})
	}()
	require.NoError(t, now.WaitForSleepers(t.Context(), 1))
	now.Advance(time.Minute - 1)
	assert.Equal(t, http.StatusServiceUnavailable, status("/readyz"))
	assert.Equal(t, http.StatusOK, status("/v2/"))
	now.Advance(1)
	require.NoError(t, <-stopped)
	assert.Zero(t, status("/v2/"))
}

// TestRequirementsThatMeanNothing: a rule is warned of as the policy of all is.
func TestRequirementsThatMeanNothing(t *testing.T) {
	policies := filepath.Join(t.TempDir(), "policies.yaml")
	require.NoError(t, os.WriteFile(policies, []byte("rules: [{repositories: team/*, sparse-lists: off, required-architectures: [amd64]}]\n"), 0o600))
	o, err := load(t, []string{"--storage=/s", "--policies", policies}, nil, "")
	require.NoError(t, err)
	var log bytes.Buffer
	warnOfPolicies(slog.New(slog.NewTextHandler(&log, nil)), o)
	assert.Equal(t, 1, strings.Count(log.String(), "\n"))
	assert.Contains(t, log.String(), `while sparse lists are off: every child must exist" rule=team/*`)
}

// TestWhoeverReachesItMayPush is a warning where others can reach it.
func TestWhoeverReachesItMayPush(t *testing.T) {
	const warning = "whoever reaches %s may push: --htpasswd names who may"
	for address, open := range map[string]bool{
		"127.0.0.1:5000": false, "[::1]:5000": false, "localhost:5000": false, "127.1.2.3:1": false,
		":5000": true, "0.0.0.0:5000": true, "[::]:1": true, "registry.example:5000": true,
	} {
		o, err := load(t, []string{"--storage=/s", "--address=" + address}, nil, "")
		require.NoError(t, err)
		assert.Equal(t, open, slices.Contains(o.warnings(), fmt.Sprintf(warning, address)), address)
	}
	token := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(token, []byte("version: 0.1\nstorage: {filesystem: {rootdirectory: /d}}\nauth: {token: {realm: r}}\n"), 0o600))
	for _, args := range [][]string{{"--storage=/s", "--htpasswd=/h"}, {"--storage=/s", "--read-only"}, {"--distribution-config", token}} {
		o, err := load(t, append(args, "--address=:5000"), nil, "")
		require.NoError(t, err)
		assert.Empty(t, o.warnings(), args)
	}
}

func TestArgumentsAreRefused(t *testing.T) {
	const file = "name a file of settings with --config FILE, and one of plain distribution with --distribution-config FILE"
	for line, want := range map[string]string{
		"true":                               `unexpected argument "true": a value of BOOL is written behind the flag with an equals sign, as in --delete=true`,
		"serve /etc/distribution/config.yml": `unexpected argument "serve": sparse-registry serves without a command; name the configuration of plain distribution with --distribution-config FILE`,
		"garbage-collect config.yml":         `unexpected argument "garbage-collect": type sparse-registry gc, which removes nothing without --delete; name the configuration`,
		"version":                            `unexpected argument "version": type sparse-registry --version`,
		"config.yml":                         `unexpected argument "config.yml": ` + file,
		"gc /etc/registry.yaml":              `unexpected argument "/etc/registry.yaml": ` + file,
		"check /var/lib/registry":            `unexpected argument "/var/lib/registry": name the storage with --storage DIRECTORY`,
		"chekc":                              `unexpected argument "chekc": did you mean sparse-registry check?`,
		"nonsense":                           `unexpected argument "nonsense": sparse-registry takes flags, or a command: check, gc`,
		"gc serve":                           `unexpected argument "serve": sparse-registry gc takes flags only; see sparse-registry gc --help`,
		"--port=1":                           "unknown flag: --port; here that is --address",
		"--addr=:1":                          "unknown flag: --addr; did you mean --address?",
		"--required-archs=amd64":             "unknown flag: --required-archs; did you mean --sparse-index-required-archs?",
		"--anonymus-pull":                    "unknown flag: --anonymus-pull; did you mean --anonymous-pull?",
		"-c x":                               "unknown shorthand flag: 'c' in -c; see sparse-registry --help",
		"gc --dry-run":                       "unknown flag: --dry-run; gc is a dry run without --delete",
		"gc -m":                              "unknown shorthand flag: 'm' in -m; here that is --untagged",
		"gc --port=1":                        "unknown flag: --port; see sparse-registry gc --help",
	} {
		cmd := command(nil, io.Discard)
		cmd.SetArgs(strings.Fields(line))
		err := cmd.Execute()
		assert.ErrorContains(t, err, want, line)
	}
}

func TestSizes(t *testing.T) {
	for value, want := range map[string]int64{"0": 0, "10": 10, "1.5 GiB": 3 << 29, "2kB": 2000, "7KiB": 7168, "3TB": 3e12} {
		var got int64
		require.NoError(t, setSize(&got, value))
		assert.Equal(t, want, got, value)
	}
}

func TestVersion(t *testing.T) {
	cmd := command(os.Environ(), io.Discard)
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--version"})
	require.NoError(t, cmd.Execute())
	assert.Equal(t, buildinfo.Read().Text("sparse-registry"), out.String())
}
