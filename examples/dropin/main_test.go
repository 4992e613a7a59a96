package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
)

const (
	ours   = `"github.com/sparsecopy/sparsecopy/copy"`
	theirs = `"go.podman.io/image/v5/copy"`
)

func TestMain(m *testing.M) { os.Exit(hermetictest.Main(m.Run)) }

// TestSwitchByImport builds the program twice, once with upstream's package by changing the import
// line only, and runs both.
func TestSwitchByImport(t *testing.T) {
	dir := t.TempDir()
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(source), ours))
	replaced := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(replaced, []byte(strings.Replace(string(source), ours, theirs, 1)), 0o600))
	main, err := filepath.Abs("main.go")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {main: replaced}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	build(t, filepath.Join(dir, "ours"))
	build(t, filepath.Join(dir, "theirs"), "-overlay", filepath.Join(dir, "overlay.json"))

	f := imagetest.Platforms(3, 1, 100)
	layout := filepath.Join(dir, "source")
	require.NoError(t, f.WriteLayout(layout, "v1", imagetest.Top))
	for _, selection := range []string{"system", "all", "list", f.Digest("arm64").String(), "neither"} {
		t.Run(selection, func(t *testing.T) {
			digests, failed := map[string]string{}, map[string]bool{}
			for _, program := range []string{"ours", "theirs"} {
				command := exec.CommandContext(t.Context(), filepath.Join(dir, program), selection,
					"oci:"+layout+":v1", "oci:"+filepath.Join(t.TempDir(), "copy")+":v1")
				var lines strings.Builder
				command.Stderr = &lines
				output, err := command.Output()
				digests[program], failed[program] = string(output), err != nil
				if err == nil && selection != "list" {
					assert.Contains(t, lines.String(), "Writing manifest to image destination", program)
				}
			}
			if selection == "neither" {
				// What is no digest selects nothing upstream, and is refused here.
				assert.True(t, failed["ours"])
				return
			}
			assert.Equal(t, failed["theirs"], failed["ours"])
			assert.Equal(t, digests["theirs"], digests["ours"])
			assert.NotEmpty(t, digests["ours"])
		})
	}
}

func build(t *testing.T, output string, flags ...string) {
	t.Helper()
	args := append([]string{"build", "-ldflags=-w", "-o", output}, flags...)
	command := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	// The tag that an importer passes, and no other: without cgo, whatever the tests themselves are
	// built with. With -trimpath, as in the Makefile, what is compiled is shared. Without DWARF,
	// linking takes half the time.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath -tags=containers_image_openpgp -buildvcs=false")
	message, err := command.CombinedOutput()
	require.NoError(t, err, string(message))
}
