package mirrorcmd

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/copy/bundle"
	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
)

// TestWrongFiles names files and directories by every flag and argument that takes one. Each is
// refused with status 2 before anything is tried; those that are only written are refused if they
// could not be.
func TestWrongFiles(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	imagetest.Platforms(2, 1, 100).PushTo(src, repo, tag, imagetest.Top)
	dir := t.TempDir()
	none, within := filepath.Join(dir, "none"), filepath.Join(dir, "none", "file")
	file := func(name, content string) string {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	noJSON, noTOML := file("no.json", "{"), file("no.toml", "[[registry")
	noYAML := filepath.Dir(file("registries.d/no.yaml", "docker: ["))
	noKey := filepath.Dir(file("certs/client.cert", "-"))
	list := file("images.yaml", "images:\n- source: "+refTo(src)+"\n  destination: "+refTo(dst)+"\n")
	access := map[string][]string{
		"--authfile": {none, dir, noJSON}, "--src-authfile": {none, noJSON}, "--dest-authfile": {none, noJSON}, "--policy": {none, dir, noJSON},
		"--src-cert-dir": {none, noJSON, noKey}, "--dest-cert-dir": {none, noJSON, noKey}, "--registries.d": {none, noJSON, noYAML},
		"--registries-conf": {none, noTOML},
	}
	only := func(flags ...string) map[string][]string {
		some := map[string][]string{}
		for _, f := range flags {
			some[f] = access[f]
		}
		return some
	}
	add := func(flags map[string][]string, flag string, paths ...string) map[string][]string {
		flags[flag] = paths
		return flags
	}
	all := func() map[string][]string {
		return only("--authfile", "--src-authfile", "--dest-authfile", "--policy", "--src-cert-dir", "--dest-cert-dir", "--registries.d", "--registries-conf")
	}
	bundle := filepath.Join(dir, "bundle")
	runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", bundle, refTo(src)).done(t)
	src.ResetLog()
	for _, c := range []struct {
		command []string
		flags   map[string][]string
		rest    []string
	}{
		{[]string{"copy"}, add(all(), "--digestfile", within, dir), []string{refTo(src), refTo(dst)}},
		{[]string{"plan"}, all(), []string{refTo(src), refTo(dst)}},
		{[]string{"verify"}, all(), []string{refTo(src), refTo(dst)}},
		{[]string{"inspect"}, map[string][]string{"--authfile": {none, noJSON}, "--cert-dir": {none, noKey}, "--registries.d": {noYAML}, "--registries-conf": {noTOML}}, []string{refTo(src)}},
		{[]string{"sync"}, add(add(add(add(all(), "--digest-map", within, dir), "--idms", within), "--registries-conf-snippet", within), "--state-dir", filepath.Join(noJSON, "x")), []string{list}},
		{[]string{"bundle", "create"}, add(add(only("--authfile", "--src-authfile", "--policy", "--src-cert-dir", "--registries.d", "--registries-conf"), "--since", none, noJSON, dir), "--file", none, noJSON), []string{filepath.Join(dir, "new"), refTo(src)}},
		{[]string{"bundle", "load"}, only("--authfile", "--dest-authfile", "--policy", "--dest-cert-dir", "--registries.d", "--registries-conf"), []string{bundle, dst.Host()}},
	} {
		for flag, paths := range c.flags {
			for _, path := range paths {
				args := append(append([]string{}, c.command...), flag, path)
				if flag != "--policy" && c.command[0] != "inspect" {
					args = append(args, "--insecure-policy")
				}
				rest := c.rest
				if flag == "--file" {
					rest = rest[:1]
				}
				t.Run(filepath.Join(append(c.command, flag, filepath.Base(path))...), func(t *testing.T) {
					says := flag
					if flag == "--file" {
						says = path
					}
					runAll(t.Context(), t, "", append(args, rest...)...).failed(t, StatusMisused, says)
				})
			}
		}
	}
	assert.Zero(t, src.Count(nil)+dst.Count(nil), "nothing is tried")
	assert.NoDirExists(t, filepath.Join(dir, "new.partial"))
}

// TestForeignAndDamagedBundles says in a sentence what is wrong with what is no bundle, or not any
// more.
func TestForeignAndDamagedBundles(t *testing.T) {
	src, dst := registrytest.Start(t, registrytest.Options{}), registrytest.Start(t, registrytest.Options{})
	f := imagetest.Platforms(2, 1, 100)
	f.PushTo(src, repo, tag, imagetest.Top)
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.tar")
	runAll(t.Context(), t, "", "bundle", "create", "--insecure-policy", "--src-tls-verify=false", "--all", whole, refTo(src)).done(t)
	archive, err := os.ReadFile(whole)
	require.NoError(t, err)
	entries := readArchive(t, archive)
	var record map[string]any
	require.NoError(t, json.Unmarshal(entries[0].content, &record))
	changed := func(change func(record map[string]any)) []byte {
		var r map[string]any
		require.NoError(t, json.Unmarshal(entries[0].content, &r))
		change(r)
		content, err := json.Marshal(r)
		require.NoError(t, err)
		return writeArchive(t, append([]archived{{bundle.RecordFile, content}}, entries[1:]...))
	}
	layout := filepath.Join(dir, "layout")
	require.NoError(t, f.WriteLayout(layout, "1", imagetest.Top))
	const again = "; carry it again"
	for _, c := range []struct {
		name    string // of the file; "" for one that is there
		content []byte
		path    string
		says    []string
	}{
		{name: "none.tar", says: []string{"none.tar", "no such file"}},
		{path: dir, says: []string{dir + " is no bundle: it has no bundle.json"}},
		{path: layout, says: []string{"is no bundle: it has no bundle.json, but is an OCI layout: its images are oci:" + layout + ":NAME"}},
		{name: "empty.tar", content: []byte{}, says: []string{"empty.tar is no bundle: it is empty"}},
		{name: "compressed.tar", content: []byte("\x1f\x8b\x08\x00" + string(make([]byte, 600))), says: []string{"is no bundle: it is no tar archive, or a compressed one"}},
		{name: "compressed.tgz", content: []byte("\x1f\x8b\x08\x00"), says: []string{"is no bundle: it is neither a directory, nor an archive whose name ends in .tar"}},
		{name: "saved.tar", content: writeArchive(t, []archived{{"manifest.json", []byte("[]")}}), says: []string{`is no bundle: it begins with "manifest.json", and bundles begin with bundle.json`}},
		{name: "more.tar", content: writeArchive(t, append(entries, archived{"evil", nil})), says: []string{`is no bundle: "evil" does not belong into one`}},
		{name: "future.tar", content: changed(func(r map[string]any) { r["schema"] = "sparsecopy.bundle/v9" }), says: []string{`is no bundle: its bundle.json has the schema "sparsecopy.bundle/v9", and this program reads sparsecopy.bundle/v1`}},
		{name: "no-json.tar", content: writeArchive(t, append([]archived{{bundle.RecordFile, []byte("{")}}, entries[1:]...)), says: []string{"the bundle is damaged: bundle.json: ", again}},
		{name: "digest.tar", content: changed(func(r map[string]any) { r["id"] = "sha256:1" }), says: []string{`the bundle is damaged: bundle.json: digest "sha256:1"`, again}},
		{name: "name.tar", content: changed(func(r map[string]any) { r["images"].([]any)[0].(map[string]any)["name"] = "UPPER" }), says: []string{`the bundle is damaged: it names "UPPER"`, again}},
		{name: "record-only.tar", content: writeArchive(t, entries[:1]), says: []string{"the bundle is damaged: it has no index.json", again}},
		{name: "other-index.tar", content: changed(func(r map[string]any) { r["id"] = f.Digest("amd64").String() }), says: []string{"the bundle is damaged: index.json does not belong to bundle.json", again}},
		{name: "half.tar", content: archive[:len(archive)/2], says: []string{"the bundle is damaged: ", again}},
		{name: "cut.tar", content: archive[:1024+512*2], says: []string{"the bundle is damaged: ", again}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path
			if path == "" {
				path = filepath.Join(dir, c.name)
			}
			if c.content != nil {
				require.NoError(t, os.WriteFile(path, c.content, 0o600))
			}
			r := runAll(t.Context(), t, "", "bundle", "load", "--insecure-policy", "--dest-tls-verify=false", path, dst.Host())
			r.failed(t, StatusMisused, c.says...)
			assert.NotContains(t, r.stderr, "sparsecopy-bundle-", "nobody knows the temporary directory")
		})
	}
	assert.Zero(t, dst.Count(nil))
}

// An archived is a file of an archive.
type archived struct {
	name    string
	content []byte
}

func readArchive(t *testing.T, archive []byte) []archived {
	t.Helper()
	var files []archived
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := r.Next()
		if err != nil {
			return files
		}
		var content bytes.Buffer
		_, err = content.ReadFrom(r)
		require.NoError(t, err)
		files = append(files, archived{header.Name, content.Bytes()})
	}
}

func writeArchive(t *testing.T, files []archived) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content))}))
		_, err := w.Write(f.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
