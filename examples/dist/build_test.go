package main

import (
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBuild builds for this platform, here and in a copy of the checkout elsewhere, and runs what
// was built.
func TestBuild(t *testing.T) {
	here, elsewhere := testRelease(t), testRelease(t)
	here.level, elsewhere.level = gzip.BestSpeed, gzip.BestSpeed
	elsewhere.checkout = t.TempDir()
	require.NoError(t, os.CopyFS(elsewhere.checkout, sources(t)))
	p := platform{runtime.GOOS, runtime.GOARCH}
	for _, r := range []release{here, elsewhere} {
		require.NoError(t, r.build(t.Context(), []platform{p}))
	}
	made := tree(t, here.dir)
	assert.Equal(t, sums(made), sums(tree(t, elsewhere.dir)))

	var listed strings.Builder
	for _, name := range []string{here.archiveName(p), here.name(p) + sbomSuffix} {
		fmt.Fprintf(&listed, "%x  %s\n", sha256.Sum256([]byte(made[name])), name)
	}
	assert.Equal(t, listed.String(), made[sumsFile])
	assert.Len(t, made, 3)

	bin := t.TempDir()
	each(t, here.archiveName(p), []byte(made[here.archiveName(p)]), func(f archived) {
		if dir, name := path.Split(f.name); path.Clean(dir) == here.name(p) {
			require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(f.content), f.mode))
		}
	})
	for _, name := range programs {
		said, err := exec.CommandContext(t.Context(), filepath.Join(bin, p.executable(name)), "--version").Output()
		require.NoError(t, err)
		assert.Contains(t, string(said), name+" v1.2.3\n")
		assert.Contains(t, string(said), here.revision)
	}

	if runtime.GOOS != "linux" {
		return // images are for Linux
	}
	require.NoError(t, here.image([]platform{p}))
	for _, name := range programs {
		assert.FileExists(t, filepath.Join(here.layout(name), "index.json"))
	}
	other := here
	other.version = "v1.2.4"
	require.NoError(t, os.Rename(filepath.Join(here.dir, here.archiveName(p)), filepath.Join(here.dir, other.archiveName(p))))
	assert.ErrorContains(t, other.image([]platform{p}), "is not what SHA256SUMS says")

	require.NoError(t, os.WriteFile(filepath.Join(here.dir, "notes.txt"), nil, 0o600))
	require.NoError(t, here.clean())
	left, err := filepath.Glob(filepath.Join(here.dir, "*"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{filepath.Join(here.dir, layoutsDir), filepath.Join(here.dir, "notes.txt")}, left)
}

// TestProgramsAreWhatTheyAreCalled shows this test's own program to inspect.
func TestProgramsAreWhatTheyAreCalled(t *testing.T) {
	executable, err := os.Executable()
	require.NoError(t, err)
	content, err := os.ReadFile(executable)
	require.NoError(t, err)
	_, err = testRelease(t).inspect("mirror", platform{runtime.GOOS, runtime.GOARCH}, content)
	assert.ErrorContains(t, err, "mirror was built with ")
	_, err = testRelease(t).inspect("mirror", platform{runtime.GOOS, runtime.GOARCH}, []byte("#!/bin/sh"))
	assert.ErrorContains(t, err, "mirror: unrecognized file format")
}

// sums shortens contents for comparison.
func sums(files map[string]string) map[string]string {
	short := map[string]string{}
	for name, content := range files {
		short[name] = fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	}
	return short
}

// sources are the files of the checkout but for those of tests, of git and of the Makefile.
func sources(t *testing.T) fs.FS {
	t.Helper()
	root := filepath.Join("..", "..")
	require.FileExists(t, filepath.Join(root, "go.work"))
	return without{os.DirFS(root)}
}

// A without is a file system without some directories.
type without struct{ fs.FS }

func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	var kept []fs.DirEntry
	for _, entry := range entries {
		if n := entry.Name(); n != ".bin" && n != ".git" && n != "testdata" {
			kept = append(kept, entry)
		}
	}
	return kept, err
}
