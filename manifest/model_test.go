package manifest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sparsecopy/sparsecopy/manifest"
)

// TestEditInstancesLikeModel compares random edits of real documents with a model that knows
// nothing about bytes. A failure names its seed: go test ./manifest -run
// 'LikeModel/compact.json/seed=7$' repeats it.
func TestEditInstancesLikeModel(t *testing.T) {
	for _, file := range listFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			doc := readFile(t, file)
			for seed := range uint64(60) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					r := rand.New(rand.NewPCG(seed, 0))
					list := mustParse(t, doc)
					edits := randomEdits(r, len(list.Instances()), list.MediaType())
					require.NoError(t, list.EditInstances(edits))
					checkEdited(t, doc, list, edits)
					checkInSteps(t, doc, list, edits)
					checkAddThenDelete(t, list)
				})
			}
		})
	}
}

// randomEdits makes valid edits for a list with n entries.
func randomEdits(r *rand.Rand, n int, mediaType string) []manifest.ListEdit {
	var updates, dels, adds []manifest.ListEdit
	moving := r.IntN(4) == 0
	for _, i := range r.Perm(n) {
		switch r.IntN(4) {
		case 0:
			dels = append(dels, deletes(i)...)
			continue
		case 1:
			updates = append(updates, randomUpdate(r, i, mediaType))
		}
		if moving && r.IntN(4) == 0 {
			adds = append(adds, moves(i)...)
		}
	}
	slices.SortFunc(dels, func(a, b manifest.ListEdit) int { return b.DeleteIndex - a.DeleteIndex })
	for range r.IntN(3) {
		adds = slices.Insert(adds, r.IntN(len(adds)+1), randomAdd(r, mediaType))
	}
	return slices.Concat(updates, dels, adds)
}

func randomUpdate(r *rand.Rand, index int, listType string) manifest.ListEdit {
	d, size, mediaType := named(strconv.Itoa(r.IntN(100))), 1+r.Int64N(1<<40), ""
	switch r.IntN(3) {
	case 0:
		d = ""
	case 1:
		mediaType = "type/" + strconv.Itoa(r.IntN(100))
	}
	e := update(index, d, size, mediaType)
	if listType != manifest.MediaTypeDockerList && r.IntN(3) == 0 {
		e.UpdateAnnotations = map[string]string{"k": "<", manifest.AnnotationZstd: "true"}
	}
	return e
}

func randomAdd(r *rand.Rand, mediaType string) manifest.ListEdit {
	e := add(entryModel{"type/\"<é", named(strconv.Itoa(r.IntN(100))), r.Int64N(1 << 40), linux("arm64")})
	if r.IntN(2) == 0 {
		e.AddPlatform = &imgspecv1.Platform{OSVersion: "1", OSFeatures: []string{"a", "b"}, Variant: "v1"}
	}
	if mediaType == manifest.MediaTypeDockerList {
		return e
	}
	if r.IntN(3) == 0 {
		e.AddPlatform = nil
	}
	if r.IntN(2) == 0 {
		e.AddArtifactType = "type/artifact"
		e.AddAnnotations = map[string]string{"b": "\\\x00\x7f", "a": "2"}
	}
	return e
}

// checkEdited compares list, which was made of doc by edits, with the model, and demands that
// everything else kept its bytes.
func checkEdited(t testing.TB, doc []byte, list manifest.List, edits []manifest.ListEdit) {
	t.Helper()
	got := serialize(t, list)
	assert.Equal(t, modelEdit(t, doc, edits), decode(t, got), "%s", got)

	again, err := manifest.Parse(got, list.MediaType())
	require.NoError(t, err, "%s", got)
	assert.Equal(t, again.Instances(), list.Instances(), "%s", got)

	before, after := rawEntries(t, doc), rawEntries(t, got)
	updated := map[int]bool{}
	for _, e := range edits {
		updated[e.UpdateIndex] = updated[e.UpdateIndex] || e.ListOperation == manifest.ListOpUpdate
	}
	for at, i := range modelOrder(len(before), edits) {
		if i >= 0 && !updated[i] {
			assert.Equal(t, before[i], after[at], "entry %d", i)
		}
	}
}

// modelOrder returns the position that each entry of an edited list had among the n of before; -1
// for one that was added.
func modelOrder(n int, edits []manifest.ListEdit) []int {
	gone, last := map[int]bool{}, []int(nil)
	for _, e := range edits {
		switch e.ListOperation {
		case manifest.ListOpDelete:
			gone[e.DeleteIndex] = true
		case manifest.ListOpMove:
			gone[e.MoveIndex] = true
			last = append(last, e.MoveIndex)
		case manifest.ListOpAdd:
			last = append(last, -1)
		}
	}
	var order []int
	for i := range n {
		if !gone[i] {
			order = append(order, i)
		}
	}
	return append(order, last...)
}

// checkInSteps demands that one edit after the other comes to the same bytes as all at once. That
// is so unless all entries are replaced: then only the batch still knows how the old ones were laid
// out. Moves name positions that are others after each step.
func checkInSteps(t testing.TB, doc []byte, list manifest.List, edits []manifest.ListEdit) {
	t.Helper()
	stepwise := mustParse(t, doc)
	for _, e := range edits {
		if e.ListOperation == manifest.ListOpMove {
			return
		}
		if e.ListOperation == manifest.ListOpAdd && len(stepwise.Instances()) == 0 {
			return
		}
		require.NoError(t, stepwise.EditInstances([]manifest.ListEdit{e}))
	}
	assert.Equal(t, string(serialize(t, list)), string(serialize(t, stepwise)))
}

// checkAddThenDelete demands that deleting what was added leaves no trace.
func checkAddThenDelete(t testing.TB, list manifest.List) {
	t.Helper()
	n := len(list.Instances())
	if n == 0 {
		return // the white space inside empty brackets is not kept
	}
	edited := list.Clone()
	require.NoError(t, edited.EditInstances(batch(add(entryModel{"m", named("z"), 1, linux("arm")}))))
	require.NoError(t, edited.EditInstances(deletes(n)))
	assert.Equal(t, string(serialize(t, list)), string(serialize(t, edited)))
}

// modelEdit applies edits to a decoded document.
func modelEdit(t testing.TB, doc []byte, edits []manifest.ListEdit) map[string]any {
	t.Helper()
	list := decode(t, doc)
	if len(edits) == 0 {
		return list
	}
	entries, _ := list["manifests"].([]any) // null is an empty list
	var added []any
	for _, e := range edits {
		switch e.ListOperation {
		case manifest.ListOpUpdate:
			modelUpdate(entries[e.UpdateIndex].(map[string]any), e)
		case manifest.ListOpAdd:
			added = append(added, modelAdd(e))
		}
	}
	edited := []any{}
	for _, i := range modelOrder(len(entries), edits) {
		if i < 0 {
			edited, added = append(edited, added[0]), added[1:]
		} else {
			edited = append(edited, entries[i])
		}
	}
	list["manifests"] = edited
	return list
}

func modelUpdate(entry map[string]any, e manifest.ListEdit) {
	if d := e.UpdateDigest.String(); d != "" && d != entry["digest"] {
		entry["digest"] = d
		delete(entry, "urls")
		delete(entry, "data")
	}
	if e.UpdateSize != 0 {
		entry["size"] = json.Number(strconv.FormatInt(e.UpdateSize, 10))
	}
	if e.UpdateMediaType != "" {
		entry["mediaType"] = e.UpdateMediaType
	}
	if len(e.UpdateAnnotations) > 0 {
		annotations, _ := entry["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
			entry["annotations"] = annotations
		}
		for k, v := range e.UpdateAnnotations {
			annotations[k] = v
		}
	}
}

func modelAdd(e manifest.ListEdit) map[string]any {
	entry := map[string]any{
		"mediaType": e.AddMediaType,
		"digest":    e.AddDigest.String(),
		"size":      json.Number(strconv.FormatInt(e.AddSize, 10)),
	}
	if e.AddArtifactType != "" {
		entry["artifactType"] = e.AddArtifactType
	}
	if len(e.AddAnnotations) > 0 {
		annotations := map[string]any{}
		for k, v := range maps.All(e.AddAnnotations) {
			annotations[k] = v
		}
		entry["annotations"] = annotations
	}
	if p := e.AddPlatform; p != nil {
		platform := map[string]any{"architecture": p.Architecture, "os": p.OS}
		for key, value := range map[string]string{"os.version": p.OSVersion, "variant": p.Variant} {
			if value != "" {
				platform[key] = value
			}
		}
		var features []any
		for _, f := range p.OSFeatures {
			features = append(features, f)
		}
		if features != nil {
			platform["os.features"] = features
		}
		entry["platform"] = platform
	}
	return entry
}
