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
	hangup()
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

	require.NoError(t, stop())
	assert.Contains(t, log.String(), `level=WARN msg="settings have changed that count only when the server is started again" settings=[metrics-address]`)
}
