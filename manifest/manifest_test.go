package manifest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

const (
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
)

// named is a digest that stands for a name.
func named(name string) digest.Digest { return digest.FromString(name) }

// listFiles are the documents in testdata/lists.
func listFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../testdata/lists/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func mustParse(t testing.TB, doc []byte) manifest.List {
	t.Helper()
	list, err := manifest.Parse(doc, "")
	require.NoError(t, err)
	return list
}

func serialize(t testing.TB, list manifest.List) []byte {
	t.Helper()
	b, err := list.Serialize()
	require.NoError(t, err)
	return b
}

// decode reads JSON as a parser does that knows nothing about lists.
func decode(t testing.TB, doc []byte) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var m map[string]any
	require.NoError(t, d.Decode(&m), "%s", doc)
	return m
}

// rawEntries are the bytes of a list's entries, as encoding/json finds them.
func rawEntries(t testing.TB, doc []byte) []string {
	t.Helper()
	var list struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	require.NoError(t, json.Unmarshal(doc, &list))
	raw := make([]string, len(list.Manifests))
	for i, m := range list.Manifests {
		raw[i] = string(m)
	}
	return raw
}

// cutMark takes the mark § out of a document, and returns its position, or -1.
func cutMark(doc string) (string, int) {
	at := strings.Index(doc, "§")
	return strings.Replace(doc, "§", "", 1), at
}
