package mirrorcmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.podman.io/image/v5/types"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
)

// TestAMachineWithoutPolicy types what the error says to type.
func TestAMachineWithoutPolicy(t *testing.T) {
	home := hermetictest.Home(t)
	for _, config := range []string{filepath.Join(home, "other config"), ""} {
		t.Setenv("XDG_CONFIG_HOME", config)
		if config == "" {
			require.NoError(t, os.Unsetenv("XDG_CONFIG_HOME"))
		}
		typesPolicy(t)
	}

	require.NoError(t, os.WriteFile(filepath.Join(home, ".config", "containers", "policy.json"), []byte("{"), 0o600))
	_, err := (&access{}).signaturePolicy(&types.SystemContext{RootForImplicitAbsolutePaths: t.TempDir()})
	assert.ErrorContains(t, err, "name one with --policy, or accept any image with --insecure-policy")
}

func typesPolicy(t *testing.T) {
	t.Helper()
	bare := &types.SystemContext{RootForImplicitAbsolutePaths: t.TempDir()}
	var a access
	_, err := a.signaturePolicy(bare)
	require.ErrorContains(t, err, "no usable signature policy on this machine: ")
	assert.ErrorContains(t, err, "give --insecure-policy, or type once: ")
	typed := regexp.MustCompile(`type once: (.*json); --policy`).FindStringSubmatch(err.Error())
	require.NotNil(t, typed, err.Error())
	out, err := exec.Command("sh", "-c", typed[1]).CombinedOutput()
	require.NoError(t, err, string(out))
	policy, err := a.signaturePolicy(bare)
	require.NoError(t, err)
	assert.Len(t, policy.Default, 1)
}
