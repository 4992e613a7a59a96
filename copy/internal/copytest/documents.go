package copytest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/internal/imagetest"
	"github.com/sparsecopy/sparsecopy/internal/registrytest"
	"github.com/sparsecopy/sparsecopy/manifest"
)

// FileLines describes the files of a directory, or of an archive.
func FileLines(t testing.TB, path string) []string {
	var lines []string
	add := func(name string, content []byte) {
		if name == "index.json" {
			content = normalIndex(t, content)
		}
		lines = append(lines, fmt.Sprintf("%s %x", name, sha256.Sum256(content)))
		if name == "index.json" {
			lines = append(lines, string(content))
		}
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	if !info.IsDir() {
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		for r := tar.NewReader(file); ; {
			header, err := r.Next()
			if err != nil {
				slices.Sort(lines)
				return lines
			}
			var content bytes.Buffer
			_, err = content.ReadFrom(r)
			require.NoError(t, err)
			if header.Typeflag == tar.TypeReg {
				add(header.Name, content.Bytes())
			}
		}
	}
	require.NoError(t, filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(file)
		name, _ := filepath.Rel(path, file)
		add(name, content)
		return err
	}))
	slices.Sort(lines)
	return lines
}

// normalIndex is an index.json without what does not matter: the order of its members.
func normalIndex(t testing.TB, content []byte) []byte {
	var v any
	require.NoError(t, json.Unmarshal(content, &v))
	content, err := json.Marshal(v)
	require.NoError(t, err)
	return content
}

// DeclaredAs is a registry that declares documents as something else: pairs of media types.
func DeclaredAs(types ...string) registrytest.Options {
	o := registrytest.Options{DeclareAs: map[string]string{}}
	for i := 0; i < len(types); i += 2 {
		o.DeclareAs[types[i]] = types[i+1]
	}
	return o
}

// Replaced writes something else into a document, where it fits.
func Replaced(old, by string) imagetest.Option {
	return imagetest.Reformat(func(doc []byte) []byte { return []byte(strings.Replace(string(doc), old, by, 1)) })
}

// Without takes something out of a document, where it is.
func Without(text string) imagetest.Option { return Replaced(text, "") }

// EveryDocument is a list of three images, with options for each and for the list.
func EveryDocument(options ...imagetest.Option) *imagetest.Fixture {
	f := imagetest.New()
	var names []string
	for _, name := range []string{"amd64", "arm64", "s390x"} {
		f.Image(name, append([]imagetest.Option{imagetest.Platform("linux/" + name), imagetest.Layers()}, options...)...)
		names = append(names, name)
	}
	f.List(imagetest.Top, append([]imagetest.Option{imagetest.Entries(names...)}, options...)...)
	return f
}

// CheckDeclared fails if a registry has a document as something else than it is.
func CheckDeclared(t *testing.T, p RegistryPlace) {
	t.Helper()
	for _, d := range p.Manifests(p.Repo) {
		content, mediaType, _ := p.Manifest(p.Repo, d.String())
		assert.Equal(t, manifest.TypeOf(content, mediaType), mediaType, "%s", content)
	}
}
