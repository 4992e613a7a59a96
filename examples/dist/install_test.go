package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// TestInstall has the go command install mirror, far from any checkout, from a module proxy that
// has this checkout as the release that examples/go.mod requires.
func TestInstall(t *testing.T) {
	checkout := t.TempDir()
	require.NoError(t, os.CopyFS(checkout, sources(t)))
	version := required(t, filepath.Join(checkout, "examples", "go.mod"))
	proxy := t.TempDir()
	publish(t, proxy, module.Version{Path: library, Version: version}, checkout)
	publish(t, proxy, module.Version{Path: examples, Version: version}, filepath.Join(checkout, "examples"))

	// All packages of both modules are compiled, under their names as modules: not to be fast, nor
	// for a debugger.
	bin := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", "-gcflags="+library+"/...=-N -l -dwarf=false", "-ldflags=-w", examples+"/mirror@"+version)
	install.Dir = bin
	install.Env = append(os.Environ(), "GOBIN="+bin, "GOMODCACHE="+moduleCache(t), "GOPROXY="+fileURL(proxy)+",off", "GOSUMDB=off", "GOWORK=",
		"CGO_ENABLED=0", "GOFLAGS=-trimpath -modcacherw -tags=containers_image_openpgp")
	output, err := install.CombinedOutput()
	require.NoError(t, err, string(output))

	said, err := exec.CommandContext(t.Context(), filepath.Join(bin, "mirror"), "version").Output()
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(said), "mirror "+version+"\n"), string(said))
	assert.Contains(t, string(said), "sparsecopy        "+version+"\n")
}

// required is the version of the library that a go.mod requires.
func required(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	file, err := modfile.ParseLax(name, content, nil)
	require.NoError(t, err)
	for _, r := range file.Require {
		if r.Mod.Path == library {
			return r.Mod.Version
		}
	}
	require.FailNow(t, "examples does not require the library")
	return ""
}

// publish puts a module into the directory of a proxy, in the way of
// https://go.dev/ref/mod#goproxy-protocol.
func publish(t *testing.T, proxy string, m module.Version, dir string) {
	t.Helper()
	versions := filepath.Join(proxy, filepath.FromSlash(m.Path), "@v")
	require.NoError(t, os.MkdirAll(versions, 0o755))
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	archive, err := os.Create(filepath.Join(versions, m.Version+".zip"))
	require.NoError(t, err)
	require.NoError(t, zip.CreateFromDir(archive, m, dir))
	require.NoError(t, archive.Close())
	for name, content := range map[string]string{
		m.Version + ".mod": string(goMod), m.Version + ".info": `{"Version":"` + m.Version + `"}`, "list": m.Version + "\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(versions, name), []byte(content), 0o644))
	}
}

// moduleCache makes a module cache that has what the machine's has, as links, and no version of
// this repository: none is left behind there, and none that is there already counts.
func moduleCache(t *testing.T) string {
	t.Helper()
	machines, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	require.NoError(t, err)
	cache := t.TempDir()
	from := strings.TrimSpace(string(machines))
	own := filepath.FromSlash(library)
	link(t, from, cache, own)
	link(t, filepath.Join(from, "cache", "download"), filepath.Join(cache, "cache", "download"), own)
	return cache
}

// link makes a directory with links to all that is in another one, but for the path without and,
// at the top, what the go command keeps for itself. Directories on the way to that path are made in
// the same manner.
func link(t *testing.T, from, to, without string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(to, 0o755))
	first, rest, more := strings.Cut(without, string(filepath.Separator))
	entries, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == "cache":
		case name == first && more:
			link(t, filepath.Join(from, name), filepath.Join(to, name), rest)
		case name == first || strings.HasPrefix(name, first+"@"):
		default:
			require.NoError(t, os.Symlink(filepath.Join(from, name), filepath.Join(to, name)))
		}
	}
}

// fileURL is the address of a directory.
func fileURL(dir string) string {
	return "file://" + filepath.ToSlash(dir)
}
