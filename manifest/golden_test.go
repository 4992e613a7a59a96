package manifest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/sparsecopy/sparsecopy/manifest"
)

var updateGolden = flag.Bool("update", false, "rewrite testdata/lists/edits and testdata/lists/proofs")

// TestGoldenEdits applies the edits in testdata/lists/edits. A case has two files. "edits" has a
// line for each edit, after a first line with the name of the list:
//
//	list compact
//	update 2 digest=word size=7 mediaType=type
//	delete 1
//	add digest=word size=7 mediaType=type platform=os/architecture/variant artifactType=type annotation.key=value
//	move 0
//
// A digest is given as the word that it is the SHA-256 of. "want" is the document that results.
func TestGoldenEdits(t *testing.T) {
	files, err := filepath.Glob("../testdata/lists/edits/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			require.Len(t, archive.Files, 2)
			name, edits := readEdits(t, archive.Files[0].Data)

			list := mustParse(t, readFile(t, filepath.Join("../testdata/lists", name+".json")))
			require.NoError(t, list.EditInstances(edits))
			got := serialize(t, list)
			if !bytes.HasSuffix(got, []byte("\n")) {
				got = append(got, '\n') // which every file in an archive has
			}
			if *updateGolden {
				archive.Files[1].Data = got
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			assert.Equal(t, string(archive.Files[1].Data), string(got))
		})
	}
}

// readEdits reads the file "edits" of a golden case.
func readEdits(t *testing.T, text []byte) (list string, edits []manifest.ListEdit) {
	t.Helper()
	first, rest, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	list, ok := strings.CutPrefix(first, "list ")
	require.True(t, ok, first)
	for line := range strings.Lines(rest) {
		e, err := readEdit(strings.Fields(line))
		require.NoError(t, err, line)
		edits = append(edits, e)
	}
	return list, edits
}

func readEdit(words []string) (e manifest.ListEdit, err error) {
	switch words[0] {
	case "delete":
		e.ListOperation = manifest.ListOpDelete
		e.DeleteIndex, err = strconv.Atoi(words[1])
		return e, err
	case "move":
		e.ListOperation = manifest.ListOpMove
		e.MoveIndex, err = strconv.Atoi(words[1])
		return e, err
	case "update":
		e.ListOperation = manifest.ListOpUpdate
		if e.UpdateIndex, err = strconv.Atoi(words[1]); err != nil {
			return e, err
		}
		words = words[1:]
	case "add":
		e.ListOperation = manifest.ListOpAdd
	}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		if err := setEditField(&e, key, value); err != nil {
			return e, err
		}
	}
	return e, nil
}

func setEditField(e *manifest.ListEdit, key, value string) (err error) {
	annotation, isAnnotation := strings.CutPrefix(key, "annotation.")
	switch {
	case key == "digest":
		e.UpdateDigest, e.AddDigest = named(value), named(value)
	case key == "size":
		e.UpdateSize, err = strconv.ParseInt(value, 10, 64)
		e.AddSize = e.UpdateSize
	case key == "mediaType":
		e.UpdateMediaType, e.AddMediaType = value, value
	case key == "artifactType":
		e.AddArtifactType = value
	case key == "platform":
		parts := append(strings.Split(value, "/"), "", "")
		e.AddPlatform = &imgspecv1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
	case isAnnotation:
		if e.AddAnnotations == nil {
			e.AddAnnotations = map[string]string{}
		}
		e.AddAnnotations[annotation] = value
		e.UpdateAnnotations = e.AddAnnotations
	default:
		err = fmt.Errorf("unknown field %q", key)
	}
	return err
}

// TestGoldenProofs holds lists against their originals. A case in testdata/lists/proofs has the
// files "original" and "stripped", and before them the documents that there are besides. In all of
// them, $digest(name) and $size(name) are those of a file before; without such a file,
// $digest(word) is the SHA-256 of a word. "want" is what was removed, or the error: what it says,
// and a line for what is in it.
func TestGoldenProofs(t *testing.T) {
	files, err := filepath.Glob("../testdata/lists/proofs/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			last := len(archive.Files) - 1
			require.Equal(t, "want", archive.Files[last].Name)
			named, docs := expandFiles(archive.Files[:last])

			got := describeProof(manifest.StrippedFrom(named["stripped"], named["original"], docs.read))
			if *updateGolden {
				archive.Files[last].Data = []byte(got)
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			assert.Equal(t, string(archive.Files[last].Data), got)
		})
	}
}

var placeholder = regexp.MustCompile(`\$(digest|size)\(([^)]*)\)`)

// expandFiles returns the files with their placeholders replaced, by name and by digest.
func expandFiles(files []txtar.File) (map[string][]byte, library) {
	expanded, docs := map[string][]byte{}, library{}
	for _, f := range files {
		text := placeholder.ReplaceAllStringFunc(string(f.Data), func(text string) string {
			m := placeholder.FindStringSubmatch(text)
			doc, ok := expanded[m[2]]
			switch {
			case m[1] == "size":
				return strconv.Itoa(len(doc))
			case !ok:
				return named(m[2]).String()
			}
			return digest.FromBytes(doc).String()
		})
		expanded[f.Name] = []byte(text)
		docs.add(digest.SHA256, expanded[f.Name])
	}
	return expanded, docs
}

// describeProof describes what StrippedFrom returns.
func describeProof(removal manifest.Removal, err error) string {
	if err == nil {
		text, err := json.MarshalIndent(removal, "", "  ")
		if err != nil {
			return err.Error()
		}
		return string(text) + "\n"
	}
	b := strings.Builder{}
	fmt.Fprintln(&b, err)
	for e, ok := err.(*manifest.DifferenceError); ok; e, ok = e.Err.(*manifest.DifferenceError) {
		fmt.Fprintf(&b, "%s: line %d, byte %d, entry %d, original %d, field %q, document %q\n",
			e.Kind, e.Line, e.Offset, e.Entry, e.Original, e.Field, e.Document)
	}
	return b.String()
}
