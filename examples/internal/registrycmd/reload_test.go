package registrycmd

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/sparseregistry"
)

// TestHangup changes the file of a command that runs, and tells it so by the signal.
func TestHangup(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no such signal")
	}
	dir := t.TempDir()
	file, storage := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "storage")
	write := func(text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(file, []byte("storage: "+storage+"\n"+text), 0o600))
	}
	write("")
	var log buffer
	url, stop := startCommand(t, &log, "--config", file)
	required := func() string {
		answer, err := http.Get(url + "/v2/")
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return answer.Header.Get(sparseregistry.ArchitecturesHeader)
	}
	hangups := 0
	hangup := func() string { // what the log says about it
		t.Helper()
		before := len(log.String())
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Signal(syscall.SIGHUP))
		hangups++
		require.Eventually(t, func() bool {
			said := log.String()
			return strings.Count(said, `msg="reloaded:`)+strings.Count(said, `msg="not reloaded:`) == hangups
		}, time.Minute, time.Millisecond)
		return log.String()[before:]
	}

	require.Empty(t, required())
	write("FEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: [amd64]\n")
	assert.Contains(t, hangup(), `changed="feature-sparse-index: true, was false; sparse-index-required-archs: amd64, was none"`)
	assert.Equal(t, "amd64", required())

	write("FEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: [amd46]\n")
	said := hangup()
	assert.Contains(t, said, `level=ERROR msg="not reloaded: everything stays as it was" error="`+file+`:3: SPARSE_INDEX_REQUIRED_ARCHS: unknown required architecture`)
	assert.Equal(t, "amd64", required())

	write("FEATURE_SPARSE_INDEX: true\nhtpasswd: " + filepath.Join(dir, "none") + "\n")
	said = hangup()
	assert.Contains(t, said, `level=ERROR msg="not reloaded: everything stays as it was" error="htpasswd file: stat `)
	assert.Equal(t, "amd64", required(), "all or nothing")

	write("FEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: [arm64]\nmetrics-address: 127.0.0.1:0\n")
	hangup()
	assert.Equal(t, "arm64", required())

	policies := filepath.Join(dir, "policies.yaml")
	for _, architecture := range []string{"s390x", "ppc64le"} { // the second time, only the file of policies changes
		text := "rules: [{repositories: team/*, sparse-lists: on, required-architectures: " + architecture + "}]\n"
		require.NoError(t, os.WriteFile(policies, []byte(text), 0o600))
		write("FEATURE_SPARSE_INDEX: true\nSPARSE_INDEX_REQUIRED_ARCHS: [arm64]\nmetrics-address: 127.0.0.1:0\npolicies: " + policies + "\n")
		hangup()
		assert.Equal(t, "arm64,"+architecture, required())
	}
	require.NoError(t, os.WriteFile(policies, nil, 0o600))
	assert.Contains(t, hangup(), policies+`: no \"rules\"`)
	assert.Equal(t, "arm64,ppc64le", required())

	assert.NoError(t, os.WriteFile(policies, []byte("rules: []"), 0o600))
	assert.Contains(t, hangup(), `level=ERROR msg="not reloaded: everything stays as it was" error="`+policies+` ends in the middle of a line`)
	assert.Equal(t, "arm64,ppc64le", required())
	require.NoError(t, os.WriteFile(policies, []byte("rules: []\n"), 0o600))
	assert.Contains(t, hangup(), `changed="rule team/*: none, was on requiring ppc64le"`)
	write("FEATURE_SPARSE_INDEX: true")
	assert.Contains(t, hangup(), `level=ERROR msg="not reloaded: everything stays as it was" error="`+file+` ends in the middle of a line`)
	assert.Equal(t, "arm64", required())

	require.NoError(t, stop())
	assert.Contains(t, log.String(), `level=WARN msg="settings have changed that count only when the server is started again" settings=[metrics-address]`)
}

// TestHalfFiles: only a file that has been whole is refused when it is not.
func TestHalfFiles(t *testing.T) {
	of := func(whole map[string]bool) options { return options{whole: whole} }
	assert.NoError(t, refuseHalf(of(map[string]bool{"a": false}), of(map[string]bool{"a": false})), "it never ended otherwise")
	assert.NoError(t, refuseHalf(of(map[string]bool{"a": true}), of(map[string]bool{"a": true, "b": false})), "it is another file")
	assert.NoError(t, refuseHalf(of(map[string]bool{"a": true}), of(nil)), "it is not used any more")
	assert.ErrorContains(t, refuseHalf(of(map[string]bool{"a": true}), of(map[string]bool{"a": false})), "a ends in the middle of a line")
}

func TestChanges(t *testing.T) {
	load := func(rules string, values map[string]string) options {
		o := options{values: values}
		var err error
		o.server.Policies.Rules, err = parseRules([]byte(rules))
		require.NoError(t, err)
		return o
	}
	before := load(`rules:
- {repositories: [a, b], sparse-lists: off}
- {repositories: c, sparse-lists: on}
- {repositories: d, sparse-lists: on, required-architectures: arm64, required-platforms: linux/arm/v7, optional-without-platform: true}
`, map[string]string{"drain-delay": "5s", "address": ":5000", "htpasswd": "/etc/htpasswd"})
	now := load(`rules:
- {repositories: new, sparse-lists: on}
- {repositories: c, sparse-lists: on}
- {repositories: b, sparse-lists: off}
- {repositories: d, sparse-lists: on, required-architectures: arm64}
`, map[string]string{"drain-delay": "1s", "address": ":5001", "htpasswd": "/etc/htpasswd"})
	assert.Equal(t, "drain-delay: 1s, was 5s; rule a: none, was off; "+
		"rule d: on requiring arm64, was on requiring arm64,linux/arm/v7, optional without platform; "+
		"rule new: on, was none; rules: in another order", changes(before, now))
	assert.Equal(t, "no setting and no rule", changes(now, now))
	assert.Equal(t, "drain-delay: 5s, was none", changes(options{}, options{values: map[string]string{"drain-delay": "5s"}}))
}
