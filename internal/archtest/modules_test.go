package archtest

import (
	"encoding/json"
	"os/exec"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A goMod is what a go.mod says.
type goMod struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct{ Old struct{ Path string } }
}

// readGoMod reads the go.mod in a directory of the checkout.
func readGoMod(t *testing.T, dir string) goMod {
	t.Helper()
	require.FileExists(t, path.Join(root, dir, "go.mod")) // so that the go command does not reuse a result from before a change to it
	command := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	command.Dir = path.Join(root, dir)
	output, err := command.Output()
	require.NoError(t, err)
	var read goMod
	require.NoError(t, json.Unmarshal(output, &read))
	return read
}

// TestLibraryRequiresAllowedModules reads go.mod, where a requirement stays behind when its last
// import goes.
func TestLibraryRequiresAllowedModules(t *testing.T) {
	for _, required := range readGoMod(t, ".").Require {
		allowed := slices.Contains(libraryModules, required.Path) || slices.Contains(testModules, required.Path)
		assert.Truef(t, required.Indirect || allowed, "go.mod requires %s directly, which is not among libraryModules", required.Path)
	}
}

// TestModulesReplaceNothing, because whoever requires the library would get the originals, and go
// install refuses the examples: what development needs is in go.work.
func TestModulesReplaceNothing(t *testing.T) {
	for _, dir := range []string{".", "examples"} {
		for _, replaced := range readGoMod(t, dir).Replace {
			assert.Failf(t, "a module is replaced", "%s in %s/go.mod", replaced.Old.Path, dir)
		}
	}
}

// TestModulesAgree because the workspace tests both with the higher one of two versions, and the
// library alone is built with its own.
func TestModulesAgree(t *testing.T) {
	examples := map[string]string{}
	for _, required := range readGoMod(t, "examples").Require {
		examples[required.Path] = required.Version
	}
	compared := 0
	for _, required := range readGoMod(t, ".").Require {
		version, both := examples[required.Path]
		if !both {
			continue
		}
		compared++
		assert.Equalf(t, version, required.Version, "the library is tested with another version of %s than its go.mod requires: GOWORK=off go get %s@%s", required.Path, required.Path, version)
	}
	assert.NotZero(t, compared)
}
