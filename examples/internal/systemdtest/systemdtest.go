// Package systemdtest is for tests of unit files: what they say, and what systemd makes of them.
package systemdtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A Unit is a unit file.
type Unit struct {
	Text string // with each line that goes on in the next one in one line
	name string
}

// Read reads a unit file.
func Read(t testing.TB, path string) Unit {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return Unit{Text: strings.ReplaceAll(string(content), "\\\n", " "), name: filepath.Base(path)}
}

// Value is what the unit has for a key, which must be there.
func (u Unit) Value(t testing.TB, key string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(u.Text)
	require.NotNil(t, found, key)
	return found[1]
}

// Command is the command line of ExecStart, split at spaces.
func (u Unit) Command(t testing.TB) []string {
	t.Helper()
	return strings.Fields(u.Value(t, "ExecStart"))
}

// Verify has systemd read the unit, which must have nothing to say about it, with the test's own
// program in the place of the one that may not be installed here. Where systemd is not here, it
// skips the test.
func (u Unit) Verify(t testing.TB) {
	t.Helper()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd is not here to read the unit")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), u.name)
	require.NoError(t, os.WriteFile(copied, []byte(strings.Replace(u.Text, u.Command(t)[0], self, 1)), 0o600))
	output, err := exec.CommandContext(t.Context(), analyze, "verify", copied).CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Empty(t, string(output))
}
