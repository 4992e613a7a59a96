package mirrorcmd

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/hermetictest"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// pulls are the requests that a registry counts: those that read manifests.
func pulls(r *registrytest.Registry) int {
	return r.Count(func(q registrytest.Request) bool {
		return q.Method == http.MethodGet && q.Kind == registrytest.KindManifest
	})
}

// run runs a command in the home that is there, unlike runAll.
func run(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	status := Run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return outcome{status, stdout.String(), stderr.String()}
}

// TestUnchangedSourcesCostNoPulls runs each command that reads a source after another one has read
// it.
func TestUnchangedSourcesCostNoPulls(t *testing.T) {
	hermetictest.Home(t)
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(3, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	file := filepath.Join(t.TempDir(), "mirror.yaml")
	require.NoError(t, os.WriteFile(file, []byte("images:\n- source: "+refTo(src)+"\n  destination: "+refTo(dst)+"\n  platforms: [\"*/*\"]\n"), 0o600))
	ends := []string{"--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"}
	both := append(slices.Clone(ends), "--platform", "*/*", refTo(src), refTo(dst))

	run(t, append([]string{"copy"}, both...)...).done(t)
	assert.Equal(t, 1+3, pulls(src))
	for _, command := range [][]string{
		append([]string{"copy"}, both...),
		append([]string{"plan"}, both...),
		append([]string{"verify"}, both...),
		slices.Concat([]string{"sync"}, ends, []string{file}),
		slices.Concat([]string{"verify"}, ends, []string{file}),
		{"inspect", "--tls-verify=false", refTo(src)},
		slices.Concat([]string{"bundle", "create"}, ends[:2], []string{"--platform", "*/*", "BUNDLE", refTo(src)}),
	} {
		t.Run(strings.Join(command[:1], " "), func(t *testing.T) {
			with := func(flags ...string) int {
				src.ResetLog()
				args := append(slices.Clone(command), flags...)
				if i := slices.Index(args, "BUNDLE"); i >= 0 {
					args[i] = filepath.Join(t.TempDir(), "bundle")
				}
				run(t, args...).done(t)
				return pulls(src)
			}
			assert.Zero(t, with())
			assert.NotZero(t, with("--no-cache"))
			elsewhere := filepath.Join(t.TempDir(), "new", "cache")
			assert.NotZero(t, with("--cache-dir", elsewhere))
			assert.Zero(t, with("--cache-dir", elsewhere))
		})
	}
}

func TestCacheFlags(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(2, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	mirror(t, "copy", "--cache-dir", t.TempDir(), "--no-cache", refTo(src), refTo(dst)).
		failed(t, StatusMisused, "--cache-dir and --no-cache exclude each other")
	mirror(t, "copy", "--cache-dir", file, refTo(src), refTo(dst)).failed(t, StatusMisused, "--cache-dir", file)
}

// TestPlaceOfTheCache looks for the cache where the user's caches are. That there can be none where
// nobody has named a directory is no fault.
func TestPlaceOfTheCache(t *testing.T) {
	src := registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(2, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	hermetictest.Home(t)
	caches, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{caches, file, "relative"} {
		t.Setenv("XDG_CACHE_HOME", dir)
		run(t, "inspect", "--tls-verify=false", refTo(src)).done(t)
	}
	assert.DirExists(t, filepath.Join(caches, "mirror"))
	assert.NoDirExists(t, "relative")
}
