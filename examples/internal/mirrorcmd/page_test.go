package mirrorcmd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/examples/internal/state"
)

// openState opens a state in a file, with two images.
func openState(t *testing.T, file string) *state.Store {
	t.Helper()
	store, warning, err := state.Open(file)
	require.NoError(t, err)
	require.Empty(t, warning)
	t.Cleanup(func() { _ = store.Close() })
	for _, name := range []string{"one", "two"} {
		require.NoError(t, store.Put(state.Image{Destination: "docker://registry.example/" + name, Source: "docker://docker.io/library/" + name, Status: state.Mirrored}))
	}
	require.NoError(t, store.Flush())
	return store
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	file, out := filepath.Join(dir, "production.state"), filepath.Join(dir, "mirror.html")
	store := openState(t, file)
	require.NoError(t, os.WriteFile(out, []byte("the page of yesterday"), 0o600))

	runAll(t.Context(), t, "", "report", "--html", out, "--state", file).failed(t, StatusFailed, "another process uses it", "mirror serve shows")
	assertFile(t, out, "the page of yesterday")
	require.NoError(t, store.Close())

	assert.Empty(t, runAll(t.Context(), t, "", "report", "--html", out, "--state", file).done(t).stdout)
	written, err := os.ReadFile(out)
	require.NoError(t, err)
	for _, part := range []string{"<!doctype html>", "2 images, all as they should be · production.state", "registry.example", "<bdi>one</bdi>", "<bdi>two</bdi>"} {
		assert.Contains(t, string(written), part)
	}
	info, err := os.Stat(out)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "a web server may read it")

	assert.Contains(t, runAll(t.Context(), t, "", "report", "--html", "-", "--state", file).done(t).stdout, "<bdi>two</bdi>")
}

func TestReportRefuses(t *testing.T) {
	dir := t.TempDir()
	file, broken := filepath.Join(dir, "state"), filepath.Join(dir, "broken")
	require.NoError(t, openState(t, file).Close())
	require.NoError(t, os.WriteFile(broken, []byte("no state at all"), 0o600))
	device := filepath.Join(dir, "device") // as /dev/stdout: what it leads to must not be replaced
	require.NoError(t, os.Symlink(os.DevNull, device))
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "--html FILE and --state FILE"},
		{[]string{"--html", "-"}, "--html FILE and --state FILE"},
		{[]string{"--state", file}, "--html FILE and --state FILE"},
		{[]string{"--html", "-", "--state", file, "images.yaml"}, "takes no arguments"},
		{[]string{"--html", "-", "--state", filepath.Join(dir, "none")}, "--state"},
		{[]string{"--html", "-", "--state", broken}, "--state"},
		{[]string{"--html", "-", "--state", dir}, "--state"},
		{[]string{"--html", dir, "--state", file}, "--html"},
		{[]string{"--html", filepath.Join(dir, "none", "page.html"), "--state", file}, "--html"},
		{[]string{"--html", device, "--state", file}, "no regular file"},
	} {
		r := runAll(t.Context(), t, "", append([]string{"report"}, c.args...)...)
		r.failed(t, StatusMisused, c.says)
		assert.Empty(t, r.stdout)
	}
	assertFile(t, broken, "no state at all")
	assertFile(t, device, "")
	assert.NoFileExists(t, filepath.Join(dir, "none"), "nothing is made")
}

func assertFile(t *testing.T, path, want string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(content), path)
}
