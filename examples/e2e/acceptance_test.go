package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// python finds a Python 3, which CI has to have. Elsewhere the test is skipped where there is none.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("there is no python3 on this machine: a package of its distribution brings it, and a client of the registry's that is not ours")
	}
	require.NoError(t, err)
	return path
}

// TestAcceptanceByAnotherClient has the acceptance table carried out by a program that has no code
// in common with the registry and its other tests, against one registry that has a policy for each
// row, and that has every policy off when it is started again.
func TestAcceptanceByAnotherClient(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	python := python(t)
	programs, storage := build(t), t.TempDir()
	dir := filepath.Join("testdata", "acceptance")
	for _, part := range []struct {
		name   string
		policy []string
		checks int // there are more
	}{
		{"table", []string{"--policies", filepath.Join(dir, "policies.yaml")}, 2500},
		{"switched-off", nil, 100},
	} {
		registry := startRegistryWith(t, programs, storage, part.policy...)
		said, err := exec.CommandContext(t.Context(), python, "-I", "-B", filepath.Join(dir, "acceptance.py"), registry.host, part.name).CombinedOutput()
		require.NoError(t, err, "%s", said)
		registry.terminate()
		counted := regexp.MustCompile(`^(\d+) checks, 0 failed\n$`).FindSubmatch(said)
		require.NotNil(t, counted, "%s", said)
		checks, err := strconv.Atoi(string(counted[1]))
		require.NoError(t, err)
		assert.Greater(t, checks, part.checks)
	}
}

// TestRequirementsOfNothing: Q13 of the table, in all places where requirements are.
func TestRequirementsOfNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	programs, dir := build(t), t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	rules, err := os.ReadFile(filepath.Join("testdata", "acceptance", "policies.yaml"))
	require.NoError(t, err)
	for _, c := range []struct {
		args        []string
		environment string
	}{
		{[]string{"--sparse-index-required-archs=AMD64"}, ""},
		{nil, "SPARSE_INDEX_REQUIRED_ARCHS=AMD64"},
		{[]string{"--config", write("config.yaml", "SPARSE_INDEX_REQUIRED_ARCHS: [AMD64]\n")}, ""},
		{[]string{"--policies", write("policies.yaml", strings.Replace(string(rules), "[amd64]", "[AMD64]", 1))}, ""},
	} {
		registry := exec.CommandContext(t.Context(), filepath.Join(programs, "sparse-registry"),
			append([]string{"--address", "127.0.0.1:0", "--storage", t.TempDir(), "--feature-sparse-index"}, c.args...)...)
		registry.Env = append(os.Environ(), c.environment)
		said, err := registry.CombinedOutput()
		require.Error(t, err, "%v", c)
		assert.Contains(t, string(said), `required architecture "AMD64" must be in lower case: "amd64"`, "%v", c)
	}
}
