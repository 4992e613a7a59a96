package manifest_test

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// An entryModel is an entry as encoding/json writes it, with the fields that both formats have.
type entryModel struct {
	MediaType string              `json:"mediaType,omitempty"`
	Digest    digest.Digest       `json:"digest"`
	Size      int64               `json:"size"`
	Platform  *imgspecv1.Platform `json:"platform,omitempty"`
}

func linux(arch string) *imgspecv1.Platform {
	return &imgspecv1.Platform{OS: "linux", Architecture: arch}
}

// fiveEntries are the entries of the list that the shared cases edit: the digest of 1 and 2 is the
// same.
func fiveEntries() []entryModel {
	return []entryModel{
		{"m", named("a"), 10, linux("amd64")},
		{"m", named("b"), 11, linux("arm")},
		{"m", named("b"), 11, linux("arm64")},
		{"m", named("d"), 13, &imgspecv1.Platform{OS: "windows", Architecture: "amd64", OSVersion: "10", OSFeatures: []string{"f", "g"}}},
		{"m", named("e"), 14, linux("s390x")},
	}
}

// writers lay out a document in the styles that encoding/json has.
var writers = map[string]func(v any) ([]byte, error){
	"compact":  json.Marshal,
	"indent 2": func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") },
	"indent 3": func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "   ") },
	"tabs":     func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "\t") },
}

// A listModel is a list of either format as encoding/json writes it.
type listModel struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []entryModel `json:"manifests"`
	X             float64      `json:"x"`
}

func deletes(indexes ...int) []manifest.ListEdit {
	var edits []manifest.ListEdit
	for _, i := range indexes {
		edits = append(edits, manifest.ListEdit{ListOperation: manifest.ListOpDelete, DeleteIndex: i})
	}
	return edits
}

func moves(indexes ...int) []manifest.ListEdit {
	var edits []manifest.ListEdit
	for _, i := range indexes {
		edits = append(edits, manifest.ListEdit{ListOperation: manifest.ListOpMove, MoveIndex: i})
	}
	return edits
}

func annotate(index int, annotations map[string]string) manifest.ListEdit {
	return manifest.ListEdit{ListOperation: manifest.ListOpUpdate, UpdateIndex: index, UpdateAnnotations: annotations}
}

func update(index int, d digest.Digest, size int64, mediaType string) manifest.ListEdit {
	return manifest.ListEdit{
		ListOperation: manifest.ListOpUpdate, UpdateIndex: index, UpdateDigest: d, UpdateSize: size, UpdateMediaType: mediaType,
	}
}

func add(e entryModel) manifest.ListEdit {
	return manifest.ListEdit{
		ListOperation: manifest.ListOpAdd, AddDigest: e.Digest, AddSize: e.Size, AddMediaType: e.MediaType, AddPlatform: e.Platform,
	}
}

func batch(parts ...any) []manifest.ListEdit {
	var edits []manifest.ListEdit
	for _, p := range parts {
		switch p := p.(type) {
		case manifest.ListEdit:
			edits = append(edits, p)
		case []manifest.ListEdit:
			edits = append(edits, p...)
		}
	}
	return edits
}

func TestOCI1IndexEditInstances(t *testing.T) {
	testEditInstances(t, imgspecv1.MediaTypeImageIndex)

	t.Run("add what only OCI has", func(t *testing.T) {
		list := mustParse(t, []byte(expand.Replace(`{"schemaVersion": 2, "manifests": [{"digest": "$A", "size": 1}]}`)))
		annotations := map[string]string{"b": "<&>", "a": "\"\n\u2028", "": ""}
		require.NoError(t, list.EditInstances(batch(manifest.ListEdit{
			ListOperation: manifest.ListOpAdd, AddDigest: named("b"), AddSize: 2, AddMediaType: "m", AddArtifactType: "x",
			AddAnnotations: annotations,
		})))
		annotations["a"] = "changed afterwards"
		assert.Equal(t, expand.Replace(`{"schemaVersion": 2, "manifests": [{"digest": "$A", "size": 1}, `+
			`{"mediaType": "m", "digest": "$B", "size": 2, "annotations": {"": "", "a": "\"\n\u2028", "b": "<&>"}, "artifactType": "x"}]}`),
			string(serialize(t, list)))
		assert.Equal(t, manifest.Instance{
			Index: 1, Digest: named("b"), Size: 2, MediaType: "m", ArtifactType: "x",
			Annotations: map[string]string{"b": "<&>", "a": "\"\n\u2028", "": ""},
		}, list.Instances()[1])
	})
}

func TestSchema2ListEditInstances(t *testing.T) {
	testEditInstances(t, manifest.MediaTypeDockerList)

	valid := add(entryModel{"m", named("b"), 2, linux("amd64")})
	for name, tc := range map[string]struct {
		change func(e *manifest.ListEdit)
		reason string
	}{
		"no platform":   {func(e *manifest.ListEdit) { e.AddPlatform = nil }, "an entry of a Docker list needs a platform"},
		"artifact type": {func(e *manifest.ListEdit) { e.AddArtifactType = "x" }, "an entry of a Docker list cannot have an artifact type"},
		"annotations":   {func(e *manifest.ListEdit) { e.AddAnnotations = map[string]string{"k": "v"} }, "an entry of a Docker list cannot have annotations"},
	} {
		t.Run("add with "+name, func(t *testing.T) {
			e := valid
			tc.change(&e)
			list := mustParse(t, []byte(expand.Replace(`{"schemaVersion":2,"mediaType":"DOCKER","manifests":[]}`)))
			requireRefused(t, list, batch(valid, e), 1, tc.reason)
		})
	}
}

// testEditInstances runs the cases that both formats share, in every layout.
func testEditInstances(t *testing.T, mediaType string) {
	list := func(entries ...entryModel) listModel {
		return listModel{2, mediaType, append([]entryModel{}, entries...), 1.5}
	}
	five := fiveEntries()
	a, b, c, d, e := five[0], five[1], five[2], five[3], five[4]
	changed := func(e entryModel, d digest.Digest, size int64, mediaType string) entryModel {
		return entryModel{mediaType, d, size, e.Platform}
	}
	f := entryModel{"m", named("f"), 15, &imgspecv1.Platform{
		OS: "windows", Architecture: "arm", Variant: "v7", OSVersion: "11", OSFeatures: []string{"f", "h"},
	}}
	g := entryModel{"n", named("g"), 16, &imgspecv1.Platform{}}

	for _, tc := range []struct {
		name  string
		edits []manifest.ListEdit
		want  []entryModel
	}{
		{"nothing", nil, five},
		{"delete the first", deletes(0), []entryModel{b, c, d, e}},
		{"delete a middle one", deletes(2), []entryModel{a, b, d, e}},
		{"delete the last", deletes(4), []entryModel{a, b, c, d}},
		{"delete adjacent ones", deletes(3, 2), []entryModel{a, b, e}},
		{"delete the first and the last", deletes(4, 0), []entryModel{b, c, d}},
		{"delete every other", deletes(4, 2, 0), []entryModel{b, d}},
		{"delete all but the last", deletes(3, 2, 1, 0), []entryModel{e}},
		{"delete all", deletes(4, 3, 2, 1, 0), nil},
		{"update one of two equal digests", batch(update(2, named("x"), 99, "")),
			[]entryModel{a, b, changed(c, named("x"), 99, "m"), d, e}},
		{"update everything", batch(update(4, named("x"), 99, "n")), []entryModel{a, b, c, d, changed(e, named("x"), 99, "n")}},
		{"update a size", batch(update(0, "", 99, "")), []entryModel{changed(a, a.Digest, 99, "m"), b, c, d, e}},
		{"update a media type", batch(update(0, "", 0, "n")), []entryModel{changed(a, a.Digest, a.Size, "n"), b, c, d, e}},
		{"update to the same", batch(update(0, a.Digest, a.Size, a.MediaType)), five},
		{"update in any order", batch(update(3, "", 3, ""), update(0, "", 1, "")),
			[]entryModel{changed(a, a.Digest, 1, "m"), b, c, changed(d, d.Digest, 3, "m"), e}},
		{"add", batch(add(f)), []entryModel{a, b, c, d, e, f}},
		{"add twice", batch(add(g), add(f)), []entryModel{a, b, c, d, e, g, f}},
		{"add the same again", batch(add(f), add(f)), []entryModel{a, b, c, d, e, f, f}},
		{"all operations", batch(update(3, named("x"), 3, "n"), deletes(4, 2, 0), add(f)),
			[]entryModel{b, changed(d, named("x"), 3, "n"), f}},
		{"replace all", batch(deletes(4, 3, 2, 1, 0), add(f), add(g)), []entryModel{f, g}},
		{"move the first", moves(0), []entryModel{b, c, d, e, a}},
		{"move the last", moves(4), five},
		{"move all", moves(2, 0, 4, 1, 3), []entryModel{c, a, e, b, d}},
		{"move what is updated", batch(update(1, named("x"), 3, "n"), moves(1)), []entryModel{a, c, d, e, changed(b, named("x"), 3, "n")}},
		{"move between adds", batch(add(f), moves(0), add(g)), []entryModel{b, c, d, e, f, a, g}},
		{"move what is left", batch(deletes(4, 3, 2, 1), add(f), moves(0)), []entryModel{f, a}},
		{"fields of other operations", batch(manifest.ListEdit{
			ListOperation: manifest.ListOpDelete, DeleteIndex: 1, UpdateIndex: -1, UpdateDigest: "x", UpdateSize: -1, AddDigest: "x",
		}), []entryModel{a, c, d, e}},
	} {
		for layout, write := range writers {
			t.Run(tc.name+"/"+layout, func(t *testing.T) {
				doc, err := write(list(five...))
				require.NoError(t, err)
				want, err := write(list(tc.want...))
				require.NoError(t, err)

				original := mustParse(t, doc)
				edited := original.Clone()
				require.NoError(t, edited.EditInstances(tc.edits))
				assert.Equal(t, string(want), string(serialize(t, edited)))
				assert.Equal(t, mustParse(t, want).Instances(), edited.Instances())
				assert.Equal(t, mediaType, edited.MediaType())
				assert.Equal(t, string(doc), string(serialize(t, original)), "the list that was cloned")
				assert.Equal(t, mustParse(t, doc).Instances(), original.Instances())
			})
		}
	}

	t.Run("positions are those of the call", func(t *testing.T) {
		for layout, write := range writers {
			doc, err := write(list(five...))
			require.NoError(t, err)
			edited := mustParse(t, doc)
			require.NoError(t, edited.EditInstances(deletes(1, 0)))
			require.NoError(t, edited.EditInstances(batch(update(0, "", 99, ""), deletes(2), add(f))))
			want, err := write(list(changed(c, c.Digest, 99, "m"), d, f))
			require.NoError(t, err)
			assert.Equal(t, string(want), string(serialize(t, edited)), layout)
		}
	})
	t.Run("add to an empty list", func(t *testing.T) {
		for layout, write := range writers {
			want, err := write(list(f, g))
			require.NoError(t, err)

			doc, err := write(list())
			require.NoError(t, err)
			edited := mustParse(t, doc)
			require.NoError(t, edited.EditInstances(batch(add(f), add(g))))
			assert.Equal(t, string(want), string(serialize(t, edited)), layout)

			doc, err = write(list(five...))
			require.NoError(t, err)
			edited = mustParse(t, doc)
			require.NoError(t, edited.EditInstances(deletes(4, 3, 2, 1, 0)))
			require.NoError(t, edited.EditInstances(batch(add(f), add(g))))
			assert.Equal(t, string(want), string(serialize(t, edited)), layout)
		}
	})
	t.Run("add to a list without anything else", func(t *testing.T) {
		edited, err := manifest.Parse([]byte(`{ "manifests":[] }`), mediaType)
		require.NoError(t, err)
		require.NoError(t, edited.EditInstances(batch(add(a))))
		assert.Equal(t, `{ "manifests":[ { "mediaType":"m", "digest":"`+a.Digest.String()+
			`", "size":10, "platform":{ "architecture":"amd64", "os":"linux" } } ] }`, string(serialize(t, edited)))
	})
	t.Run("add to a single entry", func(t *testing.T) {
		for layout, write := range writers {
			doc, err := write(list(a))
			require.NoError(t, err)
			edited := mustParse(t, doc)
			require.NoError(t, edited.EditInstances(batch(add(f))))
			want, err := write(list(a, f))
			require.NoError(t, err)
			assert.Equal(t, string(want), string(serialize(t, edited)), layout)
		}
	})
	testEditErrors(t, list(five...))
}

// testEditErrors runs the refusals that both formats share.
func testEditErrors(t *testing.T, model listModel) {
	valid := entryModel{"m", named("f"), 15, linux("arm")}
	invalid := func(change func(e *manifest.ListEdit)) manifest.ListEdit {
		e := add(valid)
		change(&e)
		return e
	}
	for _, tc := range []struct {
		name   string
		edits  []manifest.ListEdit
		at     int // position of the edit that is refused
		reason string
	}{
		{"no operation", batch(manifest.ListEdit{}), 0, "invalid operation ListOp(0)"},
		{"unknown operation", batch(deletes(1), manifest.ListEdit{ListOperation: 5}), 1, "invalid operation ListOp(5)"},
		{"move out of range", moves(4, 5), 1, "invalid move index 5 (list has 5 instances)"},
		{"move twice", moves(3, 3), 1, "move of index 3, which edit 0 (move) names too"},
		{"move and delete", batch(deletes(3), moves(3)), 1, "move of index 3, which edit 0 (delete) names too"},
		{"delete after move", batch(moves(3), deletes(2)), 1, "delete after move (updates come first, then deletes, then adds)"},
		{"update after move", batch(moves(3), update(2, "", 1, "")), 1, "update after move (updates come first, then deletes, then adds)"},
		{"update annotations", batch(annotate(0, map[string]string{"k": "\xff"})), 0, `"k=\xff" is not valid UTF-8`},
		{"update annotations without more", batch(annotate(0, map[string]string{})), 0, "update of index 0 changes nothing"},
		{"delete out of range", deletes(7), 0, "invalid delete index 7 (list has 5 instances)"},
		{"delete one too far", deletes(5), 0, "invalid delete index 5 (list has 5 instances)"},
		{"delete a negative index", deletes(1, -1), 1, "invalid delete index -1 (list has 5 instances)"},
		{"delete upwards", deletes(3, 0, 1), 2, "delete index 1 after delete index 0 (deletes run from the highest index to the lowest)"},
		{"delete twice", deletes(3, 2, 2), 2, "delete of index 2, which edit 1 (delete) names too"},
		{"update out of range", batch(update(5, named("x"), 1, "")), 0, "invalid update index 5 (list has 5 instances)"},
		{"update twice", batch(update(1, "", 1, ""), update(2, "", 2, ""), update(1, "", 1, "")), 2, "update of index 1, which edit 0 (update) names too"},
		{"update and delete", batch(update(0, "", 7, ""), update(1, "", 1, ""), deletes(2, 1)), 3, "delete of index 1, which edit 1 (update) names too"},
		{"update after delete", batch(deletes(0), update(1, "", 1, "")), 1, "update after delete (updates come first, then deletes, then adds)"},
		{"update after add", batch(add(valid), update(1, "", 1, "")), 1, "update after add (updates come first, then deletes, then adds)"},
		{"delete after add", batch(add(valid), deletes(0)), 1, "delete after add (updates come first, then deletes, then adds)"},
		{"update of nothing", batch(update(0, "", 0, "")), 0, "update of index 0 changes nothing"},
		{"update without size", batch(update(0, named("x"), 0, "m")), 0, "update of index 0 has a digest without its size"},
		{"update digest", batch(update(0, "sha256:../..", 1, "")), 0, `invalid digest "sha256:../..": invalid checksum digest length`},
		{"update size", batch(update(0, named("x"), -1, "")), 0, "invalid size -1"},
		{"update size alone", batch(update(0, "", -1, "")), 0, "invalid size -1"},
		{"update media type", batch(update(0, "", 0, "\xff")), 0, `"\xff" is not valid UTF-8`},
		{"add no digest", batch(invalid(func(e *manifest.ListEdit) { e.AddDigest = "" })), 0, `invalid digest "": invalid checksum digest format`},
		{"add digest", batch(invalid(func(e *manifest.ListEdit) { e.AddDigest = "md5:00" })), 0, `invalid digest "md5:00": unsupported digest algorithm`},
		{"add size", batch(add(valid), invalid(func(e *manifest.ListEdit) { e.AddSize = -1 })), 1, `invalid size -1`},
		{"add unsafe size", batch(invalid(func(e *manifest.ListEdit) { e.AddSize = 1 << 53 })), 0, `invalid size 9007199254740992`},
		{"add without media type", batch(invalid(func(e *manifest.ListEdit) { e.AddMediaType = "" })), 0, "add without a media type"},
		{"add media type", batch(invalid(func(e *manifest.ListEdit) { e.AddMediaType = "m\xff" })), 0, `"m\xff" is not valid UTF-8`},
		{"add platform", batch(invalid(func(e *manifest.ListEdit) {
			e.AddPlatform = &imgspecv1.Platform{OSFeatures: []string{"ok", "\xff"}}
		})), 0, `"\xff" is not valid UTF-8`},
		{"too large", batch(invalid(func(e *manifest.ListEdit) { e.AddMediaType = string(make([]byte, manifest.MaxSize/6)) })), 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, err := json.Marshal(model)
			require.NoError(t, err)
			list := mustParse(t, doc)
			requireRefused(t, list, tc.edits, tc.at, tc.reason)
			assert.Equal(t, string(doc), string(serialize(t, list)))

			// The same after an edit: what was done remains, and nothing more.
			require.NoError(t, list.EditInstances(batch(update(4, "", 99, ""))))
			before := serialize(t, list)
			requireRefused(t, list, tc.edits, tc.at, tc.reason)
			assert.Equal(t, string(before), string(serialize(t, list)))
		})
	}
}

// requireRefused demands that edits are refused because of the edit at position at. Any reason will
// do if reason is "".
func requireRefused(t *testing.T, list manifest.List, edits []manifest.ListEdit, at int, reason string) {
	t.Helper()
	before := list.Instances()
	err := list.EditInstances(edits)
	var editErr *manifest.EditError
	require.ErrorAs(t, err, &editErr)
	assert.Equal(t, at, editErr.Index)
	assert.Equal(t, edits[at], editErr.Edit)
	if reason != "" {
		assert.Equal(t, reason, editErr.Reason)
	}
	assert.Equal(t, before, list.Instances())
}

func TestEditErrorMessage(t *testing.T) {
	list := mustParse(t, readFile(t, "../testdata/lists/compact.json"))
	assert.EqualError(t, list.EditInstances(deletes(2, 7)), "edit 1: invalid delete index 7 (list has 3 instances)")
}

func TestEditInstancesUpToMaxSize(t *testing.T) {
	list := mustParse(t, []byte(`{"schemaVersion":2,"manifests":[]}`))
	entry := add(entryModel{"m", named("f"), 15, nil})
	require.NoError(t, list.EditInstances(batch(entry)))
	room := manifest.MaxSize - len(serialize(t, list))

	list = mustParse(t, []byte(`{"schemaVersion":2,"manifests":[]}`))
	entry.AddMediaType += string(bytesOf('x', room+1))
	requireRefused(t, list, batch(entry), 0, "list would have 4194305 bytes, more than 4194304")
	entry.AddMediaType = entry.AddMediaType[1:]
	require.NoError(t, list.EditInstances(batch(entry)))
	mustParse(t, serialize(t, list))

	require.NoError(t, list.EditInstances(batch(deletes(0), entry)), "room that a delete makes counts")
}

// TestLargestSize is about the largest number of bytes on which parsers agree.
func TestLargestSize(t *testing.T) {
	const largest = 1<<53 - 1
	list := mustParse(t, []byte(expand.Replace(`{"schemaVersion":2,"manifests":[{"digest":"$A","size":1}]}`)))
	require.NoError(t, list.EditInstances(batch(update(0, "", largest, ""), add(entryModel{"m", named("b"), largest, nil}))))
	for _, instance := range mustParse(t, serialize(t, list)).Instances() {
		assert.EqualValues(t, largest, instance.Size)
	}
	requireRefused(t, list, batch(update(0, "", largest+1, "")), 0, "invalid size 9007199254740992")
}

func bytesOf(c byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = c
	}
	return b
}

func TestUpdateRemovesOldContent(t *testing.T) {
	const doc = `{"schemaVersion":2,"manifests":[{ "urls" : ["u"], "digest" :"$A","data":"e30=" , "x":1, "size":2, "data2":null}]}`
	for name, tc := range map[string]struct {
		edit manifest.ListEdit
		want string
	}{
		"new digest":   {update(0, named("b"), 2, ""), `{ "digest" :"$B" , "x":1, "size":2, "data2":null}`},
		"same digest":  {update(0, named("a"), 3, ""), `{ "urls" : ["u"], "digest" :"$A","data":"e30=" , "x":1, "size":3, "data2":null}`},
		"media type":   {update(0, "", 0, "m"), `{ "mediaType" : "m", "urls" : ["u"], "digest" :"$A","data":"e30=" , "x":1, "size":2, "data2":null}`},
		"all of these": {update(0, named("b"), 3, "m"), `{ "mediaType" :"m" , "digest" :"$B" , "x":1, "size":3, "data2":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			list := mustParse(t, []byte(expand.Replace(doc)))
			require.NoError(t, list.EditInstances(batch(tc.edit)))
			assert.Equal(t, expand.Replace(tc.want), rawEntries(t, serialize(t, list))[0])
		})
	}
}

func TestUpdateAnnotations(t *testing.T) {
	for name, tc := range map[string]struct {
		entry, want string
		annotations map[string]string
	}{
		"none before":   {`{"digest":"$A","size":1}`, `{"digest":"$A","size":1,"annotations":{"a":"1","b":"2"}}`, map[string]string{"b": "2", "a": "1"}},
		"spaced":        {`{ "digest": "$A", "size": 1 }`, `{ "digest": "$A", "size": 1, "annotations": { "a": "1" } }`, map[string]string{"a": "1"}},
		"empty before":  {`{"annotations":{ },"digest":"$A","size":1}`, `{"annotations":{"a":"1"},"digest":"$A","size":1}`, map[string]string{"a": "1"}},
		"null before":   {`{"annotations":null,"digest":"$A","size":1}`, `{"annotations":{"a":"1"},"digest":"$A","size":1}`, map[string]string{"a": "1"}},
		"others before": {`{"annotations":{"z": "\u0061" },"digest":"$A","size":1}`, `{"annotations":{"z": "\u0061","a": "1" },"digest":"$A","size":1}`, map[string]string{"a": "1"}},
		"another value": {`{"annotations":{"a":"0"},"digest":"$A","size":1}`, `{"annotations":{"a":"1"},"digest":"$A","size":1}`, map[string]string{"a": "1"}},
		"two values":    {`{"annotations":{"a":"1","z":"","a":"0"},"digest":"$A","size":1}`, `{"annotations":{"z":"","a":"1"},"digest":"$A","size":1}`, map[string]string{"a": "1"}},
		"there already": {`{"annotations":{"a":"\u0061","b":""},"digest":"$A","size":1}`, `{"annotations":{"a":"\u0061","b":""},"digest":"$A","size":1}`, map[string]string{"a": "a", "b": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			list := mustParse(t, []byte(expand.Replace(`{"schemaVersion":2,"manifests":[`+tc.entry+`]}`)))
			require.NoError(t, list.EditInstances(batch(annotate(0, tc.annotations))))
			assert.Equal(t, expand.Replace(tc.want), rawEntries(t, serialize(t, list))[0])
			for k, v := range tc.annotations {
				assert.Equal(t, v, list.Instances()[0].Annotations[k])
			}
			mustParse(t, serialize(t, list))
		})
	}

	docker, err := manifest.Parse([]byte(expand.Replace(`{"schemaVersion":2,"manifests":[{"digest":"$A","size":1}]}`)), manifest.MediaTypeDockerList)
	require.NoError(t, err)
	requireRefused(t, docker, batch(annotate(0, map[string]string{"a": "1"})), 0, "an entry of a Docker list cannot have annotations")
}

func TestAddInUnevenLayout(t *testing.T) {
	list := mustParse(t, []byte(expand.Replace(`{"schemaVersion":2,"manifests":[{ "digest":"$A","size":1}]}`)))
	require.NoError(t, list.EditInstances(batch(add(entryModel{"m", named("b"), 2, linux("arm")}))))
	assert.Equal(t, expand.Replace(`{ "mediaType":"m","digest":"$B","size":2,"platform":{ "architecture":"arm","os":"linux"}}`),
		rawEntries(t, serialize(t, list))[1])
}

func TestUpdateToTheSameKeepsEscapes(t *testing.T) {
	doc := expand.Replace(`{"schemaVersion":2,"manifests":[{"mediaType":"a\/b","digest":"sha25\u0036:` + named("a").Encoded() + `","size":2}]}`)
	list := mustParse(t, []byte(doc))
	require.NoError(t, list.EditInstances(batch(update(0, named("a"), 2, "a/b"))))
	assert.Equal(t, doc, string(serialize(t, list)))
}

func TestEditInstancesOfALongList(t *testing.T) {
	const n = 15000
	list := mustParse(t, manyEntries(t, n))
	before := list.Instances()
	var edits []manifest.ListEdit
	for i := n - 2; i >= 0; i -= 2 {
		edits = append(edits, deletes(i)...)
	}
	require.NoError(t, list.EditInstances(edits))
	after := mustParse(t, serialize(t, list)).Instances()
	require.Len(t, after, n/2)
	for i, instance := range after {
		want := before[2*i+1]
		want.Index = i
		require.Equal(t, want, instance)
	}
}

func TestZeroValueLists(t *testing.T) {
	for _, list := range []manifest.List{&manifest.OCI1Index{}, &manifest.Schema2List{}} {
		_, err := list.Serialize()
		assert.EqualError(t, err, "list was not made by manifest.Parse")
		assert.EqualError(t, list.EditInstances(deletes(0)), "list was not made by manifest.Parse")
		assert.Empty(t, list.Instances())
	}
}
